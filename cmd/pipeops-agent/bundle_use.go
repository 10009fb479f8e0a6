package main

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// useBundle makes the bundle of the settings the only mirror, and returns what fetches from it; nil where there is none. One that
// this install was given is used or refused. Where it is gone by the time that the install goes on by itself, nobody is there to
// bring another: it goes on as far as it needs nothing of it, and asks nobody else. One that an earlier install was given, and
// that is gone or has not what is wanted now, is passed over, which is told.
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
	case !s.bundleGiven:
		s.notices = append(s.notices, fmt.Sprintf("The bundle of an earlier install, %s, is passed over: %v", c.Bundle, err))
		return nil, nil
	case s.resumes:
		s.notices = append(s.notices, fmt.Sprintf("The bundle of this install, %s, cannot be used, and nothing is downloaded instead: %v", c.Bundle, err))
		in.Manifests.Mirrors = []string{artifact.BundleBase}
		return &artifact.Fetcher{Client: &http.Client{Transport: refusal{err}}}, nil
	}
	return nil, err
}

// refusal answers every request with an error.
type refusal struct{ err error }

func (r refusal) RoundTrip(*http.Request) (*http.Response, error) { return nil, r.err }

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
