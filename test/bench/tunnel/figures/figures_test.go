package figures

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	tests := []struct {
		values []float64
		p      float64
		want   float64
	}{
		{[]float64{3}, 50, 3},
		{[]float64{3}, 99, 3},
		{[]float64{4, 1}, 50, 1},
		{[]float64{4, 1}, 51, 4},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{3, 1, 2}, 0, 1},
		{[]float64{3, 1, 2}, 100, 3},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.9, 100},
	}
	for _, tt := range tests {
		if got := Percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("Percentile(%v, %v) = %v, want %v", tt.values, tt.p, got, tt.want)
		}
	}
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
}

func TestSpreadOf(t *testing.T) {
	values := []float64{5, 1, 3}
	if got, want := SpreadOf(values), (Spread{3, 1, 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if values[0] != 5 {
		t.Error("it has sorted what it was given")
	}
	if got, want := SpreadOf([]float64{4, 1, 2, 9}), (Spread{3, 1, 9}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestJain(t *testing.T) {
	for _, tt := range []struct {
		shares []float64
		want   float64
	}{
		{[]float64{7, 7, 7}, 1},
		{[]float64{1, 0, 0, 0}, 0.25},
		{[]float64{1, 2, 3}, 36.0 / 42},
		{[]float64{0, 0}, 0},
		{nil, 0},
	} {
		if got := Jain(tt.shares); math.Abs(got-tt.want) > 1e-12 {
			t.Errorf("Jain(%v) = %v, want %v", tt.shares, got, tt.want)
		}
	}
}

// of makes a sample of one measure called m.
func of(contender string, round int, m float64) Sample {
	return Sample{Contender: contender, Round: round, Values: map[string]float64{"m": m}}
}

func TestJudge(t *testing.T) {
	rounds := []Sample{
		of("ours", 1, 90), of("limit", 1, 100), of("a", 1, 50), of("b", 1, 60),
		of("ours", 2, 40), of("limit", 2, 50), of("a", 2, 20), of("b", 2, 10), // a machine that was busy in this round
		of("ours", 3, 80), of("limit", 3, 100), of("a", 3, 55), of("b", 3, 40),
	}
	one := func(contender string, round int, s ...float64) Sample {
		return Sample{Contender: contender, Round: round, Series: map[string][]float64{"s": s}}
	}
	series := []Sample{ // ours has 1 2 3 9 in order, the limit 1 1 2 8: round by round it were 3 and 1.125
		one("ours", 1, 3, 1), one("limit", 1, 1, 1),
		one("ours", 2, 9, 2), one("limit", 2, 8, 2),
	}
	tests := []struct {
		name    string
		bar     Bar
		samples []Sample
		want    Verdict
	}{
		{"rounds are compared, not medians", Bar{ID: "1", Measure: "m", Against: []string{"limit"}, Least: 0.8}, rounds,
			Verdict{"1", "m >= 0.8 x limit", "met", &Spread{0.8, 0.8, 0.9}}},
		{"too little", Bar{ID: "1", Measure: "m", Against: []string{"limit"}, Least: 0.81}, rounds,
			Verdict{"1", "m >= 0.81 x limit", "missed", &Spread{0.8, 0.8, 0.9}}},
		{"the best of several", Bar{ID: "1", Measure: "m", Against: []string{"b", "a"}, Least: 1}, rounds,
			Verdict{"1", "m >= 1 x the best peer, a", "met", &Spread{1.8, 80.0 / 55, 2}}},
		{"the best is the least where less is better", Bar{ID: "1", Measure: "m", Against: []string{"a", "b"}, Most: 1}, rounds,
			Verdict{"1", "m <= 1 x the best peer, b", "missed", &Spread{2, 1.5, 4}}},
		{"another's", Bar{ID: "1", Of: "a", Measure: "m", Against: []string{"limit"}, Least: 0.4}, rounds,
			Verdict{"1", "a's m >= 0.4 x limit", "met", &Spread{0.5, 0.4, 0.55}}},
		{"a difference", Bar{ID: "1", Measure: "m", Kind: Difference, Against: []string{"a"}, Most: 25}, rounds,
			Verdict{"1", "m <= a + 25", "met", &Spread{25, 20, 40}}},
		{"a percentile of all rounds", Bar{ID: "1", Measure: "s", Kind: Pooled, Percentile: 75, Against: []string{"limit"}, Most: 2}, series,
			Verdict{"1", "p75 of s of all rounds <= 2 x limit", "met", &Spread{1.5, 1.5, 1.5}}},
		{"a percentile of what was not measured one by one", Bar{ID: "1", Measure: "m", Kind: Pooled, Percentile: 75, Against: []string{"limit"}, Most: 2}, rounds,
			Verdict{"1", "p75 of m of all rounds <= 2 x limit", "not measured", nil}},
		{"a percentile that ours lacks", Bar{ID: "1", Measure: "s", Kind: Pooled, Percentile: 75, Against: []string{"limit"}, Most: 2}, series[1:2],
			Verdict{"1", "p75 of s of all rounds <= 2 x limit", "not measured", nil}},
		{"a value", Bar{ID: "1", Measure: "m", Kind: Value, Least: 81}, rounds,
			Verdict{"1", "m >= 81", "missed", &Spread{80, 40, 90}}},
		{"a peer is missing", Bar{ID: "1", Measure: "m", Against: []string{"a", "c"}, Least: 1}, rounds,
			Verdict{"1", "m >= 1 x a, c", "not measured", nil}},
		{"ours is missing", Bar{ID: "1", Measure: "m", Kind: Value, Least: 1}, rounds[1:4],
			Verdict{"1", "m >= 1", "not measured", nil}},
		{"another measure", Bar{ID: "1", Measure: "n", Against: []string{"a"}, Least: 1}, rounds,
			Verdict{"1", "n >= 1 x a", "not measured", nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff([]Verdict{tt.want}, Judge("ours", []Bar{tt.bar}, tt.samples)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTable(t *testing.T) {
	samples := []Sample{of("ours", 1, 10.04), of("limit", 1, 20), of("ours", 2, 30), of("limit", 2, 20)}
	samples[2].Lost = 7
	bars := []Bar{{ID: "B1", Measure: "m", Against: []string{"limit"}, Least: 0.75}, {ID: "B2", Measure: "n", Kind: Value, Least: 1}}
	c := NewCase("loopback", "ours", bars, samples)
	var got strings.Builder
	c.Table(&got, []string{"limit", "absent", "ours"}, []Measure{{"m", "MB/s", 1}, {"n", "us", 0}})
	want := `loopback
       MB/s              us
limit  20.0              -
ours   20.0 (10.0-30.0)  -

B1  m >= 0.75 x limit: 1.00 (0.50-1.50), met
B2  n >= 1: not measured
ours lost bytes of streams that were closed in order: 7 in round 2
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
	if c.Lost("ours") != 7 || c.Lost("limit") != 0 {
		t.Errorf("lost %d and %d", c.Lost("ours"), c.Lost("limit"))
	}
}
