package figures

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Kind is how a contender is compared with a reference in the same round.
type Kind int

// The kinds of comparison: ours divided by the reference, ours less the reference, ours alone, and ours divided by the reference
// where each is a percentile of the series of all rounds together: one round may have too few values for a percentile that is high.
const (
	Ratio Kind = iota
	Difference
	Value
	Pooled
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

	Percentile float64 // of the series of this measure; for Pooled
}

// Verdict is what became of a bar.
type Verdict struct {
	ID     string  `json:"id"`
	Bar    string  `json:"bar"`
	Result string  `json:"result"` // met, missed or "not measured"
	Figure *Spread `json:"figure,omitempty"`
}

// Judge compares round by round, so that what the machine did besides weighs on both sides, and holds the median against the bar;
// what is pooled it compares once.
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
		values := b.valuesOf(candidate, samples)
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

// valuesOf are those of the rounds, or the one that is pooled.
func (b Bar) valuesOf(contender string, samples []Sample) []float64 {
	if b.Kind != Pooled {
		return valuesOf(contender, b.Measure, samples)
	}
	var series []float64
	for _, s := range samples {
		if s.Contender == contender {
			series = append(series, s.Series[b.Measure]...)
		}
	}
	if len(series) == 0 {
		return nil
	}
	return []float64{Percentile(series, b.Percentile)}
}

// compare returns a figure for each round in which both were measured, or the one that is pooled.
func (b Bar) compare(ours, against string, samples []Sample) []float64 {
	if b.Kind == Pooled {
		mine, theirs := b.valuesOf(ours, samples), b.valuesOf(against, samples)
		if mine == nil || theirs == nil || theirs[0] == 0 {
			return nil
		}
		return []float64{mine[0] / theirs[0]}
	}
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
	case Pooled:
		return fmt.Sprintf("p%g of %s of all rounds %s %g x %s", b.Percentile, measure, sign, limit, against)
	case Ratio:
		return fmt.Sprintf("%s %s %g x %s", measure, sign, limit, against)
	case Difference:
		return fmt.Sprintf("%s %s %s + %g", measure, sign, against, limit)
	}
	return fmt.Sprintf("%s %s %g", measure, sign, limit)
}
