package figures

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind is how a contender is compared with a reference in the same round.
type Kind int

// The kinds of comparison: ours divided by the reference, ours less the reference, and ours alone.
const (
	Ratio Kind = iota
	Difference
	Value
)

// Bar is what ours has to reach. Of Least and Most one is set.
type Bar struct {
	ID      string
	Of      string // another contender that has to reach it; "" is ours
	Measure string
	Kind    Kind
	Against []string // the one with the best median counts; nil for Value
	Least   float64
	Most    float64
}

// Verdict is what became of a bar.
type Verdict struct {
	ID     string  `json:"id"`
	Bar    string  `json:"bar"`
	Result string  `json:"result"` // met, missed or "not measured"
	Figure *Spread `json:"figure,omitempty"`
}

// Judge compares round by round, so that what the machine did besides weighs on both sides, and holds the median against the bar.
func Judge(ours string, bars []Bar, samples []Sample) []Verdict {
	verdicts := make([]Verdict, 0, len(bars))
	for _, bar := range bars {
		against, found := bar.best(samples)
		v := Verdict{ID: bar.ID, Bar: bar.text(against), Result: "not measured"}
		values := bar.compare(cmp.Or(bar.Of, ours), against, samples)
		if found && len(values) > 0 {
			spread := SpreadOf(values)
			v.Figure, v.Result = &spread, "missed"
			if bar.met(spread.Median) {
				v.Result = "met"
			}
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (b Bar) met(figure float64) bool {
	if b.Most != 0 {
		return figure <= b.Most
	}
	return figure >= b.Least
}

// best is the contender to compare with. Every one that the bar names must have been measured, else the best may be missing.
func (b Bar) best(samples []Sample) (name string, found bool) {
	if b.Kind == Value {
		return "", true
	}
	var most float64
	for _, candidate := range b.Against {
		values := valuesOf(candidate, b.Measure, samples)
		if len(values) == 0 {
			return strings.Join(b.Against, ", "), false
		}
		median := SpreadOf(values).Median
		better := median > most
		if b.Most != 0 {
			better = median < most
		}
		if name == "" || better {
			name, most = candidate, median
		}
	}
	return name, name != ""
}

// compare returns a figure for each round in which both were measured.
func (b Bar) compare(ours, against string, samples []Sample) []float64 {
	var figures []float64
	for _, s := range samples {
		mine, ok := s.Values[b.Measure]
		if s.Contender != ours || !ok {
			continue
		}
		if b.Kind == Value {
			figures = append(figures, mine)
			continue
		}
		i := slices.IndexFunc(samples, func(o Sample) bool { return o.Contender == against && o.Round == s.Round })
		if i < 0 {
			continue
		}
		theirs, ok := samples[i].Values[b.Measure]
		switch {
		case !ok:
		case b.Kind == Difference:
			figures = append(figures, mine-theirs)
		case theirs != 0:
			figures = append(figures, mine/theirs)
		}
	}
	return figures
}

func (b Bar) text(against string) string {
	sign, limit := ">=", b.Least
	if b.Most != 0 {
		sign, limit = "<=", b.Most
	}
	if len(b.Against) > 1 && !strings.Contains(against, ",") {
		against = "the best peer, " + against
	}
	measure := b.Measure
	if b.Of != "" {
		measure = b.Of + "'s " + measure
	}
	switch b.Kind {
	case Ratio:
		return fmt.Sprintf("%s %s %g x %s", measure, sign, limit, against)
	case Difference:
		return fmt.Sprintf("%s %s %s + %g", measure, sign, against, limit)
	}
	return fmt.Sprintf("%s %s %g", measure, sign, limit)
}
