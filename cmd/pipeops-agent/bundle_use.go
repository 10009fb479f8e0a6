package main

import (
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// useBundle makes the bundle of the settings the only mirror, and returns what fetches from it; nil where there is none.
// One that an earlier install was given, and that is gone or has not what is wanted now, is passed over.
func (s *settings) useBundle(c config.Config, in *distro.Install) (*artifact.Fetcher, error) {
	if c.Bundle == "" {
		return nil, nil
	}
	b, err := artifact.OpenBundle(c.Bundle)
	if err == nil {
		err = b.Check(distro.K3s, in.Version, in.Arch, bundleRoles()...)
	}
	switch {
	case err == nil:
		in.Manifests.Mirrors = []string{artifact.BundleBase}
		return &artifact.Fetcher{Client: b.Client()}, nil
	case s.bundleGiven:
		return nil, err
	}
	return nil, nil
}

// progressEvery is the least time between two events of progress: a terminal shows no more.
const progressEvery = 100 * time.Millisecond

// progressOf returns a function that several goroutines may tell of bytes.
func progressOf(tell func(state string) wire.Event, show func(wire.Event)) func(done, total int64) {
	var mu sync.Mutex
	var shown time.Time
	return func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		e := tell("progress")
		if e.Time.Sub(shown) < progressEvery && done != total {
			return
		}
		shown, e.Bytes, e.Total = e.Time, done, total
		show(e)
	}
}
