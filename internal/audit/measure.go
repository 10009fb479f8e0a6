package audit

import "github.com/pipeopshq/pipeops-agent/internal/metric"

// Measure declares what is to be known of the log among the metrics of an end; see package metric for prefix.
func (l *Log) Measure(s *metric.Set, prefix string) {
	for name, of := range map[string]func(Counts) uint64{
		metric.AuditRecords:  func(c Counts) uint64 { return c.Records },
		metric.AuditLost:     func(c Counts) uint64 { return c.Lost },
		metric.AuditRefused:  func(c Counts) uint64 { return c.Refused },
		metric.AuditFailures: func(c Counts) uint64 { return c.Failed },
	} {
		s.Read(prefix+name, func() float64 { return float64(of(l.Counts())) })
	}
	s.Read(prefix+metric.AuditUp, func() float64 {
		if l.Failure() != nil {
			return 0
		}
		return 1
	})
}
