package host

import (
	"context"
	"os"
)

// userProbe finds out as whom we run: most of what an install changes is root's.
func userProbe() Probe {
	return Probe{Name: "user", Run: func(_ context.Context, s *System) (Part, error) {
		uid := s.Snapshot().UID
		if s.Live() {
			uid = Is(os.Geteuid())
		}
		return func(f *Facts) { f.UID = uid }, nil
	}}
}
