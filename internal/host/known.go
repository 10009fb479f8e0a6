package host

import (
	"bytes"
	"encoding/json"
)

// Known is a value that may be unknown. The zero value is unknown; in JSON it is null.
type Known[T any] struct {
	Value T
	OK    bool
}

// Is returns a known value.
func Is[T any](v T) Known[T] { return Known[T]{Value: v, OK: true} }

// Get returns the value and whether it is known.
func (k Known[T]) Get() (T, bool) { return k.Value, k.OK }

// Or returns the value, or v if it is unknown.
func (k Known[T]) Or(v T) T {
	if k.OK {
		return k.Value
	}
	return v
}

// MarshalJSON writes the value, or null if it is unknown.
func (k Known[T]) MarshalJSON() ([]byte, error) {
	if !k.OK {
		return []byte("null"), nil
	}
	return json.Marshal(k.Value)
}

// UnmarshalJSON reads a value; null is unknown.
func (k *Known[T]) UnmarshalJSON(b []byte) error {
	*k = Known[T]{}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		return nil
	}
	if err := json.Unmarshal(b, &k.Value); err != nil {
		return err
	}
	k.OK = true
	return nil
}
