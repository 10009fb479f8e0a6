// Package link makes a slow link between two network namespaces: a TUN device in each, and between them a pump in this process that
// delays packets, sends them at a rate, and drops what its queue has no room for. It needs root and ip(8), and nothing of the kernel but
// TUN: netem is a module that many machines lack.
package link

import (
	"math/rand/v2"
	"time"
)

// Config says how each direction of a link is.
type Config struct {
	Delay      time.Duration // of each packet, one way
	Rate       float64       // bits per second
	Queue      time.Duration // how long a packet may wait to be sent; one that would wait longer is dropped
	Loss       float64       // part of the packets that are lost on the way, 0 to 1, each by itself
	Losses     uint64        // which: links of the same number lose the same packets, counted from when they come up
	SendBuffer int           // the most that TCP may hold to be sent on a connection of either end, in bytes; 0: what the kernel has
}

// line is one direction. It decides when a packet arrives; it carries none.
type line struct {
	config Config
	free   time.Time  // when all that was taken before has been sent
	chance *rand.Rand // of a loss; nil only where there is none
}

func newLine(config Config) line {
	return line{config: config, chance: rand.New(rand.NewPCG(1, config.Losses))}
}

// take returns when a packet of this size arrives at the other end; false means that it is dropped or lost.
func (l *line) take(now time.Time, size int) (time.Time, bool) {
	begins := now
	if l.free.After(now) {
		begins = l.free
	}
	if begins.Sub(now) > l.config.Queue {
		return time.Time{}, false
	}
	l.free = begins.Add(time.Duration(float64(size) * 8 / l.config.Rate * float64(time.Second)))
	if l.config.Loss > 0 && l.chance.Float64() < l.config.Loss {
		return time.Time{}, false
	}
	return l.free.Add(l.config.Delay), true
}
