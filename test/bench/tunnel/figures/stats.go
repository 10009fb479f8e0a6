// Package figures is what the benchmark of tunnels does with what it has measured: percentiles, medians, fairness, tables, and whether
// the bars are met. It measures nothing.
package figures

import (
	"math"
	"slices"
)

// Percentile is the smallest of the values that at least p percent of them do not exceed; NaN if there are none. It sorts them.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	rank := int(math.Ceil(p / 100 * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}

// Spread is a median and what lies round it.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf is the spread of the values, of which there must be some. The median of an even number is the mean of the middle two.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// Jain is Jain's index of fairness: 1 where all shares are equal, 1/n where one has everything, 0 where nobody has anything.
// R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984.
func Jain(shares []float64) float64 {
	var sum, squares float64
	for _, s := range shares {
		sum += s
		squares += s * s
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(shares)) * squares)
}
