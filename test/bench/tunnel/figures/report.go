package figures

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Sample is what one contender did in one round, by the names of measures: values, and series of what was measured one by one.
type Sample struct {
	Contender string               `json:"contender"`
	Round     int                  `json:"round"`
	Values    map[string]float64   `json:"values"`
	Series    map[string][]float64 `json:"series,omitempty"`
	Lost      int64                `json:"lost_bytes,omitempty"` // bytes that one end sent and the other did not get, though all was closed in order
}

// Measure is a column of the table.
type Measure struct {
	Name   string // in samples and JSON, with its unit
	Title  string
	Digits int // after the point
}

// Case is what was measured under the same conditions.
type Case struct {
	Name     string                       `json:"name"`
	Samples  []Sample                     `json:"samples"`
	Summary  map[string]map[string]Spread `json:"summary"` // by contender and measure
	Verdicts []Verdict                    `json:"bars"`
}

// NewCase sums up the samples and judges them.
func NewCase(name, ours string, bars []Bar, samples []Sample) Case {
	return Case{Name: name, Samples: samples, Summary: summarize(samples), Verdicts: Judge(ours, bars, samples)}
}

func summarize(samples []Sample) map[string]map[string]Spread {
	summary := map[string]map[string]Spread{}
	for _, s := range samples {
		if summary[s.Contender] == nil {
			summary[s.Contender] = map[string]Spread{}
		}
		for measure := range s.Values {
			summary[s.Contender][measure] = SpreadOf(valuesOf(s.Contender, measure, samples))
		}
	}
	return summary
}

func valuesOf(contender, measure string, samples []Sample) []float64 {
	var values []float64
	for _, s := range samples {
		if v, ok := s.Values[measure]; ok && s.Contender == contender {
			values = append(values, v)
		}
	}
	return values
}

// Table writes a row for each contender, in the order given, with the median of each measure and, of several rounds, its spread.
// Under it come the bars and the bytes that were lost.
func (c Case) Table(w io.Writer, contenders []string, measures []Measure) {
	fmt.Fprintln(w, c.Name)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	titles := make([]string, 0, len(measures))
	for _, m := range measures {
		titles = append(titles, m.Title)
	}
	fmt.Fprintf(t, "\t%s\n", strings.Join(titles, "\t"))
	for _, name := range contenders {
		row, ok := c.Summary[name]
		if !ok {
			continue
		}
		fmt.Fprint(t, name)
		for _, m := range measures {
			spread, ok := row[m.Name]
			if !ok {
				fmt.Fprint(t, "\t-")
				continue
			}
			fmt.Fprint(t, "\t"+spread.text(m.Digits))
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush() // what it writes to is checked by nobody else either
	fmt.Fprintln(w)
	for _, v := range c.Verdicts {
		fmt.Fprintf(w, "%s  %s: ", v.ID, v.Bar)
		if v.Figure != nil {
			fmt.Fprintf(w, "%s, ", v.Figure.text(2))
		}
		fmt.Fprintln(w, v.Result)
	}
	for _, name := range contenders {
		var lost []string
		for _, s := range c.Samples {
			if s.Contender == name && s.Lost != 0 {
				lost = append(lost, fmt.Sprintf("%d in round %d", s.Lost, s.Round))
			}
		}
		if lost != nil {
			fmt.Fprintf(w, "%s lost bytes of streams that were closed in order: %s\n", name, strings.Join(lost, ", "))
		}
	}
}

// text leaves out a spread of nothing.
func (s Spread) text(digits int) string {
	median := fmt.Sprintf("%.*f", digits, s.Median)
	least, most := fmt.Sprintf("%.*f", digits, s.Min), fmt.Sprintf("%.*f", digits, s.Max)
	if least == most {
		return median
	}
	return fmt.Sprintf("%s (%s-%s)", median, least, most)
}

// Lost is the sum of the bytes that a contender lost.
func (c Case) Lost(contender string) (n int64) {
	for s := range slices.Values(c.Samples) {
		if s.Contender == contender {
			n += s.Lost
		}
	}
	return n
}
