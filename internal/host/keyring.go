package host

import "context"

// Keyring is how many keys root may hold. Each container takes one; at the limit pods fail with "disk quota exceeded".
type Keyring struct {
	MaxKeys  Known[int64] `json:"max_keys"`  // kernel.keys.root_maxkeys
	MaxBytes Known[int64] `json:"max_bytes"` // kernel.keys.root_maxbytes
}

func keyringProbe() Probe {
	return Probe{Name: "keyring", Run: func(_ context.Context, s *System) (Part, error) {
		k := Keyring{MaxKeys: s.number("/proc/sys/kernel/keys/root_maxkeys"), MaxBytes: s.number("/proc/sys/kernel/keys/root_maxbytes")}
		return func(f *Facts) { f.Keyring = k }, nil
	}}
}
