package store

import (
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func BenchmarkAuthenticate(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	t := wire.NewToken(nil)
	if _, err := s.AddToken(b.Context(), t, "", time.Hour); err != nil {
		b.Fatal(err)
	}
	e, err := s.Enroll(b.Context(), t, "shop", []byte("key"), "v1")
	if err != nil {
		b.Fatal(err)
	}
	token, _, err := s.AddUserToken(b.Context(), "admin", []string{wire.GroupAdmins}, e.ID, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("token", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Authenticate(b.Context(), token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Authenticate(b.Context(), token); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkKnown is what is looked up, twice, for each agent that connects.
func BenchmarkKnown(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	t := wire.NewToken(nil)
	if _, err := s.AddToken(b.Context(), t, "", time.Hour); err != nil {
		b.Fatal(err)
	}
	e, err := s.Enroll(b.Context(), t, "shop", []byte("key"), "v1")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.ClusterByID(b.Context(), e.ID); err != nil {
			b.Fatal(err)
		}
		if _, err := s.MachineByKey(b.Context(), e.ID, []byte("key")); err != nil {
			b.Fatal(err)
		}
	}
}
