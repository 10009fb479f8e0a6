// Package metric counts, and says what it counts. What there is to be counted is declared in literal tables, of which docs/metrics.md is
// made; a label has only the values that its family declares, so that nobody outside can make more of them.
package metric

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// The kinds of families.
const (
	Counter   = "counter"
	Gauge     = "gauge"
	Histogram = "histogram"
)

// Other is what a value of a label becomes that is not declared.
const Other = "other"

// Family is one metric with all its labels.
type Family struct {
	Name   string
	Kind   string
	Help   string
	Labels []Label
}

// Label tells the series of a family apart.
type Label struct {
	Name   string
	Values []string // all that there are, beside Other
}

// buckets returns the upper bounds of histograms, in seconds: from a request that is answered at once to one that is slow for people.
func buckets() []float64 {
	return []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
}

// Set has the values of families. Its methods may be called concurrently. A nil Set counts nothing.
type Set struct {
	families []Family
	sets     map[string]*metrics.Set // by name of the family
}

// New makes a set with a series at 0 for each counter that has no labels.
func New(families []Family) *Set {
	s := &Set{families: families, sets: map[string]*metrics.Set{}}
	for _, f := range families {
		s.sets[f.Name] = metrics.NewSet()
		if f.Kind == Counter && len(f.Labels) == 0 {
			s.sets[f.Name].GetOrCreateCounter(f.Name)
		}
	}
	return s
}

// Add counts n more; values are those of the labels, in their order. What is not declared is not counted.
func (s *Set) Add(name string, n uint64, values ...string) {
	if set, series, ok := s.series(name, Counter, values); ok {
		set.GetOrCreateCounter(series).AddInt64(int64(n))
	}
}

// Observe takes a duration in seconds into a histogram.
func (s *Set) Observe(name string, seconds float64, values ...string) {
	if set, series, ok := s.series(name, Histogram, values); ok {
		set.GetOrCreatePrometheusHistogramExt(series, buckets()).Update(seconds)
	}
}

// Read has a gauge, or a counter that is kept elsewhere, read by f when the metrics are.
func (s *Set) Read(name string, f func() float64, values ...string) {
	for _, kind := range []string{Gauge, Counter} {
		if set, series, ok := s.series(name, kind, values); ok {
			set.UnregisterMetric(series)
			set.NewGauge(series, f)
		}
	}
}

func (s *Set) series(name, kind string, values []string) (*metrics.Set, string, bool) {
	if s == nil {
		return nil, "", false
	}
	for _, f := range s.families {
		if f.Name == name && f.Kind == kind && len(f.Labels) == len(values) {
			return s.sets[name], f.series(values), true
		}
	}
	return nil, "", false
}

func (f Family) series(values []string) string {
	if len(values) == 0 {
		return f.Name
	}
	labels := make([]string, len(values))
	for i, v := range values {
		if !slices.Contains(f.Labels[i].Values, v) {
			v = Other
		}
		labels[i] = fmt.Sprintf("%s=%q", f.Labels[i].Name, v)
	}
	return f.Name + "{" + strings.Join(labels, ",") + "}"
}

// Write writes everything in the text format of Prometheus.
func (s *Set) Write(w io.Writer) error {
	if s == nil {
		return nil
	}
	var out bytes.Buffer
	for _, f := range s.families {
		var values bytes.Buffer
		s.sets[f.Name].WritePrometheus(&values)
		if values.Len() == 0 {
			continue
		}
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", f.Name, f.Help, f.Name, f.Kind)
		out.Write(values.Bytes())
	}
	_, err := w.Write(out.Bytes())
	return err
}

// ServeHTTP answers with everything in the text format of Prometheus.
func (s *Set) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = s.Write(w) // who asks is gone, or has it
}
