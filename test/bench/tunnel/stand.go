package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/machine"
)

// stand is a contender that is up: its two processes, and a backend of its own in this one.
type stand struct {
	public    string
	backend   *backend
	processes []*process
	undo      []func() // in the order of what they undo
	ended     bool
}

// raise starts a contender and returns when an echo has come back through it. An interrupt kills its processes, which fails what is
// being measured. It must be ended.
func raise(ctx context.Context, c contender, folder, profiles string) (s *stand, err error) {
	s = new(stand)
	defer func() {
		if err != nil {
			s.end()
		}
	}()
	r := role{Contender: c.name, Folder: folder}
	addresses, err := freeAddresses(ctx, 3)
	if err != nil {
		return s, err
	}
	r.Public, r.Tunnel, r.Backend = addresses[0], addresses[1], addresses[2]
	s.public = r.Public
	s.backend = newBackend()
	answers, err := s.backend.listen(r.Backend)
	if err != nil {
		return s, err
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = answers.Serve() }) // what it lacks, those who ask will tell
	s.undo = append(s.undo, serving.Wait, answers.Stop)
	for _, end := range []string{"gateway", "agent"} {
		r.End = end
		if profiles != "" {
			r.Profile = filepath.Join(profiles, c.name+"-"+end+".pprof") // of the last round
		}
		p, err := start(r, "", nil)
		if err != nil {
			return s, err
		}
		forget := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
		s.undo = append(s.undo, p.stop, func() { forget() })
		s.processes = append(s.processes, p)
	}
	return s, up(ctx, r.Public, s.processes)
}

func (s *stand) end() {
	if s.ended {
		return
	}
	s.ended = true
	for i := range s.undo {
		s.undo[len(s.undo)-1-i]()
	}
}

// cpu is the processor time of the tunnel, both ends.
func (s *stand) cpu() (sum time.Duration, err error) {
	for _, p := range s.processes {
		used, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// pin has the processes of the tunnel run on some processors, and this one, with the load and the backend, on others, until unpin is called,
// which must be, also after an error.
func (s *stand) pin(tunnel, rest unix.CPUSet) (unpin func() error, err error) {
	sets := map[int]unix.CPUSet{os.Getpid(): rest}
	for _, p := range s.processes {
		sets[p.cmd.Process.Pid] = tunnel
	}
	var undo []func() error
	for pid, cpus := range sets {
		back, failed := machine.Pin(pid, cpus)
		if back != nil {
			undo = append(undo, back)
		}
		err = errors.Join(err, failed)
	}
	return func() (err error) {
		for _, back := range undo {
			err = errors.Join(err, back())
		}
		runtime.SetDefaultGOMAXPROCS() // what this process measures next has all processors at once
		return err
	}, err
}

// died is why some of the processes ended by themselves; nil while all run.
func died(processes []*process) (err error) {
	for _, p := range processes {
		err = errors.Join(err, p.died())
	}
	return err
}

// freeAddresses are some on which nobody listens. Their ports are below those that the kernel gives to connections, which come and go by
// the thousand here.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	var addresses []string
	var failed error
	for range 100 {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000))))
		if err != nil {
			failed = err
			continue
		}
		defer l.Close() // held until all are found, so that none is found twice
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("cannot find %d free ports: %w", n, failed)
}
