package transport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// MemoryFile is its name in the state folder of an agent.
const MemoryFile = "transport.json"

const (
	// maxMemory bounds the file, in bytes; an entry has some 150.
	maxMemory = 16 << 10
	// maxGateways is how many gateways are remembered: an agent knows two, and some that it had before.
	maxGateways = 8
	maxName     = 1 << 10 // of a gateway or a way; proxies have no longer addresses
)

// memory is the file in which is remembered which way led to which gateway. It holds neither users nor passwords of proxies.
type memory struct {
	Version  int          `json:"version"`
	Gateways []remembered `json:"gateways"` // the newest first
}

// remembered is the way to one gateway, where it is not the best one.
type remembered struct {
	Gateway string    `json:"gateway"` // host:port
	Way     string    `json:"way"`     // as way.String tells it
	Tried   time.Time `json:"tried"`   // when the best way was tried last
}

// parseMemory reads the file. It is no more than a hint: who cannot read it begins anew.
func parseMemory(raw []byte) (memory, error) {
	var m memory
	if err := json.Unmarshal(raw, &m); err != nil {
		return memory{}, fmt.Errorf("cannot read what is remembered of ways to gateways: %w", err)
	}
	if m.Version != 1 || len(m.Gateways) > maxGateways || slices.ContainsFunc(m.Gateways, func(r remembered) bool {
		return len(r.Gateway) > maxName || len(r.Way) > maxName
	}) {
		return memory{}, errors.New("cannot read what is remembered of ways to gateways: it is of another version, or too long")
	}
	return m, nil
}

func (d *Dialer) memory() memory {
	if d.Memory == "" {
		return memory{}
	}
	raw, err := atomicfile.Read(d.Memory, maxMemory)
	var m memory
	if err == nil {
		m, err = parseMemory(raw)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log().Debug("ways to gateways are found out anew", "err", err)
	}
	return m
}

// recall returns the way that led to a gateway the last time, "" if it is not known or was the best one, and when the best one was
// tried last.
func (d *Dialer) recall(address string) (name string, tried time.Time) {
	for _, r := range d.memory().Gateways {
		if r.Gateway == address {
			return r.Way, r.Tried
		}
	}
	return "", time.Time{}
}

// remember notes the way to a gateway: that it is the best one, or, with fresh, that a better one was tried before. What is on disk
// already is not written again. d.mu is held: it is the file's lock.
func (d *Dialer) remember(address, name string, best, fresh bool) error {
	if d.Memory == "" {
		return nil
	}
	m := d.memory()
	i := slices.IndexFunc(m.Gateways, func(r remembered) bool { return r.Gateway == address })
	switch {
	case best && i < 0:
		return nil
	case i >= 0 && !best && m.Gateways[i].Way == name && !fresh:
		return nil
	case i >= 0:
		m.Gateways = slices.Delete(m.Gateways, i, i+1)
	}
	if !best {
		m.Gateways = slices.Insert(m.Gateways, 0, remembered{address, name, d.now().UTC().Truncate(time.Second)})
	}
	m.Version, m.Gateways = 1, m.Gateways[:min(len(m.Gateways), maxGateways)]
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(d.Memory, 0o600, append(raw, '\n'))
}
