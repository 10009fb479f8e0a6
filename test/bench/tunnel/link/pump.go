package link

import (
	"errors"
	"io"
	"sync"
	"time"
)

// largest is the largest packet, in bytes: the devices have an MTU of 1500.
const largest = 2048

// inFlight is how many packets a direction holds at most: the smallest of 40 bytes, 100 Mbit/s and 125 ms make 39,000, large ones 500 Mbit/s and 150 ms 6,300.
const inFlight = 1 << 16

type packet struct {
	due   time.Time
	size  int
	bytes [largest]byte
}

// pump carries packets from one device to the other until either is closed. It returns why.
func pump(from io.Reader, to io.Writer, config Config) error {
	l := newLine(config)
	pool := sync.Pool{New: func() any { return new(packet) }}
	flying := make(chan *packet, inFlight)
	arrived := make(chan error, 1)
	go func() {
		var failed error
		for p := range flying {
			if failed == nil {
				time.Sleep(time.Until(p.due))
				_, failed = to.Write(p.bytes[:p.size])
				if transient(failed) {
					failed = nil
				}
			}
			pool.Put(p)
		}
		arrived <- failed
	}()
	var failed error
	for failed == nil {
		p := pool.Get().(*packet)
		if p.size, failed = from.Read(p.bytes[:]); failed != nil {
			break
		}
		due, ok := l.take(time.Now(), p.size)
		if !ok {
			pool.Put(p)
			continue
		}
		p.due = due
		flying <- p
	}
	close(flying)
	return errors.Join(failed, <-arrived)
}
