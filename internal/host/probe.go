package host

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// ProbeTimeout is the time that each probe gets. They run at once, so it bounds [Collect] too. A machine takes some 30 ms
// for all of them; the limit is for file systems that never answer, and must be generous to slow machines that are busy: what
// is unknown refuses nothing, and a cluster that was not seen in time would not stop an install.
const ProbeTimeout = 5 * time.Second

// replayTimeout is the same for captured machines: nothing hangs there, and the facts must not depend on how busy the
// machine is that replays them.
const replayTimeout = 30 * time.Second

// Part is what one probe found out: it fills the fields of that probe and no others.
type Part func(*Facts)

// Probe finds one fact. Run reads through the system and returns what it found, which may be partial when it also
// returns an error. It must neither decide anything nor change the machine.
type Probe struct {
	Name string // lower-kebab
	Run  func(ctx context.Context, s *System) (Part, error)
}

// All returns the probes in the order of the documentation. The order has no effect on the facts.
func All() []Probe {
	return []Probe{
		osProbe(),
		hardwareProbe(),
		archProbe(),
		kernelProbe(),
		cpuProbe(),
		memoryProbe(),
		diskProbe(),
		volumesProbe(),
		cgroupProbe(),
		virtualizationProbe(),
		initProbe(),
		portsProbe(),
		clustersProbe(),
		dockerProbe(),
		commandsProbe(),
		identityProbe(),
		userProbe(),
		modulesProbe(),
		kernelConfigProbe(),
		lsmProbe(),
		keyringProbe(),
		inotifyProbe(),
		swapProbe(),
		limitsProbe(),
		entropyProbe(),
		devicesProbe(),
		sysctlProbe(),
		rootsProbe(),
		packagesProbe(),
		clockProbe(),
		routesProbe(),
		linksProbe(),
		addressesProbe(),
		dnsProbe(),
		proxyProbe(),
		iptablesProbe(),
		firewallProbe(),
		cloudProbe(),
		neighboursProbe(),
		runtimesProbe(),
		bareNodeProbe(),
		bootProbe(),
		reachProbe(),
	}
}

// Collect runs every probe at the same time and returns what they found within [ProbeTimeout].
func Collect(ctx context.Context, s *System) Facts {
	return collect(ctx, s, All())
}

// collect waits for each probe until the deadline. A probe that hangs in a system call (a dead network file system) is
// reported and left behind: its result goes into a buffered channel that nobody reads, so it cannot touch the facts.
func collect(ctx context.Context, s *System, probes []Probe) Facts {
	timeout := ProbeTimeout
	if !s.Live() {
		timeout = replayTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	type result struct {
		part Part
		err  error
	}
	results := make([]chan result, len(probes))
	for i, p := range probes {
		results[i] = make(chan result, 1)
		go func() {
			var r result
			defer func() { // the files of a foreign machine must not be able to stop us, nor a library that reads them
				if v := recover(); v != nil {
					r = result{err: fmt.Errorf("cannot read this machine: %v", v)}
				}
				results[i] <- r
			}()
			r.part, r.err = p.Run(ctx, s)
		}()
	}

	var f Facts
	fail := func(name string, err error) {
		if f.Errors == nil {
			f.Errors = map[string]string{}
		}
		f.Errors[name] = clean(err.Error())
	}
	for i, p := range probes {
		var r result
		select {
		case r = <-results[i]:
		case <-ctx.Done():
			select {
			case r = <-results[i]:
			default:
				r.err = fmt.Errorf("cannot finish in time: %w", ctx.Err())
			}
		}
		if r.err != nil {
			fail(p.Name, r.err)
		}
		if r.part != nil {
			r.part(&f)
		}
	}
	cleanAll(reflect.ValueOf(&f).Elem())
	return f
}
