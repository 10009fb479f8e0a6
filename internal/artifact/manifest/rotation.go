package manifest

import (
	"errors"
	"fmt"
	"time"
)

// Rotation leads from one trust to the next. A key of the trust that it replaces signs it, and so does every key that is
// new, which proves that somebody has its private half.
type Rotation struct {
	Format   int       `json:"format"`
	Previous int64     `json:"previous"` // serial of the trust that it replaces
	Created  time.Time `json:"created"`
	Trust    Trust     `json:"trust"`
}

// ParseRotation reads the payload of a rotation.
func ParseRotation(payload []byte) (Rotation, error) {
	var r Rotation
	if len(payload) > MaxTrust {
		return Rotation{}, fmt.Errorf("cannot read the rotation: more than %d bytes", MaxTrust)
	}
	if err := decodeFormat(payload, &r); err != nil {
		return Rotation{}, fmt.Errorf("cannot read the rotation: %w", err)
	}
	if err := r.Check(); err != nil {
		return Rotation{}, err
	}
	return r, nil
}

// Check finds what no rotation may say.
func (r Rotation) Check() error {
	switch {
	case r.Format != format:
		return fmt.Errorf("cannot use the rotation: %w: %d", errFormat, r.Format)
	case r.Previous < 1 || r.Trust.Serial != r.Previous+1:
		return fmt.Errorf("cannot use the rotation: it leads from trust %d to %d", r.Previous, r.Trust.Serial)
	case !sane(r.Created):
		return errors.New("cannot use the rotation: it does not say when it was made")
	}
	return r.Trust.Check()
}
