package store

import (
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// withShop is a store with one cluster, whose id it returns; its machine has the key "key".
func withShop(b *testing.B) (s *Store, id string) {
	b.Helper()
	s, err := Open(b.Context(), b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	t := wire.NewToken(nil)
	if _, err := s.AddToken(b.Context(), t, "", time.Hour); err != nil {
		b.Fatal(err)
	}
	e, err := s.Enroll(b.Context(), t, "shop", []byte("key"), "v1")
	if err != nil {
		b.Fatal(err)
	}
	return s, e.ID
}

func BenchmarkAuthenticate(b *testing.B) {
	s, id := withShop(b)
	token, _, err := s.AddUserToken(b.Context(), "admin", []string{wire.GroupAdmins}, id, time.Hour)
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
	s, id := withShop(b)
	for b.Loop() {
		if _, err := s.ClusterByID(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if _, err := s.MachineByKey(b.Context(), id, []byte("key")); err != nil {
			b.Fatal(err)
		}
	}
}
