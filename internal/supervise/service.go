// Package supervise starts and stops services on a machine where nobody else does: in a container, in WSL 2 without systemd,
// under an init that we do not speak to. `pipeops-agent run --supervise` is that somebody: it owns the processes, starts them
// anew when they end, keeps their logs short, and answers on a socket. Others ask it by [Client], in the words of package unit.
package supervise

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

const (
	// maxDefinition bounds the definition of a service, in bytes: ours have some 600.
	maxDefinition = 16 << 10
	// maxServices bounds how many there are; there is a use for four.
	maxServices = 64
	// maxGrace bounds how long a stop waits: an install that runs a package manager gets 300 s.
	maxGrace = 15 * time.Minute
	// maxWatchdog bounds how seldom it must say that it is alive.
	maxWatchdog = time.Hour

	defaultGrace = 20 * time.Second
)

// Service is the definition of a service, as it lies in FOLDER/NAME.json.
type Service struct {
	Version int      `json:"version"` // 1
	Name    string   `json:"name"`    // k3s, without .service
	Title   string   `json:"title"`
	Argv    []string `json:"argv"`            // the program by its absolute path; every user of the machine can read it
	After   []string `json:"after,omitempty"` // services that are started before it, and stopped after it

	EnvFiles []string `json:"env_files,omitempty"` // with NAME=value lines; those that are not there are left out
	Needs    string   `json:"needs,omitempty"`     // a file without which it is not started
	Folders  []string `json:"folders,omitempty"`   // that are made for it, for all to enter
	Modules  []string `json:"modules,omitempty"`   // of the kernel, loaded first; those that cannot be are left out
	Shared   bool     `json:"shared,omitempty"`    // "/" is made a shared mount first
	Private  bool     `json:"private,omitempty"`   // what it creates is for its owner only, its log too

	Log      string `json:"log"`                // absolute path of its output
	Notify   bool   `json:"notify,omitempty"`   // it says when it is ready, as sd_notify(3) has it
	Watchdog int    `json:"watchdog,omitempty"` // seconds within which it must say that it is alive, or is started anew; 0: need not

	Once    bool     `json:"once,omitempty"`    // it runs to its end, and is started anew only if a signal ended it
	When    string   `json:"when,omitempty"`    // with Once: a file; whenever it is there, the service is run
	Remains bool     `json:"remains,omitempty"` // with Once: it has started when its process has succeeded, and until it is stopped; a failure is tried again
	Stop    []string `json:"stop,omitempty"`    // with Remains: the program that stops it
	Success []int    `json:"success,omitempty"` // exit codes beside 0 that are no failure
	Alone   bool     `json:"alone,omitempty"`   // a stop ends its main process only: what that has started lives on
	Grace   int      `json:"grace,omitempty"`   // seconds between SIGTERM and SIGKILL; 0 means 20
}

func (s Service) grace() time.Duration {
	return cmp.Or(time.Duration(s.Grace)*time.Second, defaultGrace)
}

func (s Service) watchdog() time.Duration { return time.Duration(s.Watchdog) * time.Second }

// succeeded reports whether an exit code is no failure.
func (s Service) succeeded(code int) bool { return code == 0 || slices.Contains(s.Success, code) }

// ValidName reports whether a service may be called so.
func ValidName(name string) bool {
	return len(name) <= 64 && regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(name)
}

// Name is the name of the service that systemd calls unit.
func Name(unit string) string { return strings.TrimSuffix(unit, ".service") }

// Encode makes the content of the service's file.
func (s Service) Encode() ([]byte, error) {
	s.Version = 1
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("cannot define service %s: %w", s.Name, err)
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot define service %s: %w", s.Name, err)
	}
	return append(content, '\n'), nil
}

// Parse reads a definition, strictly.
func Parse(content []byte) (Service, error) {
	var s Service
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return Service{}, fmt.Errorf("cannot read the definition of a service: %w", err)
	}
	if err := s.check(); err != nil {
		return Service{}, fmt.Errorf("cannot take the definition of service %q: %w", s.Name, err)
	}
	return s, nil
}

func (s Service) check() error {
	switch {
	case s.Version != 1:
		return fmt.Errorf("it is of version %d", s.Version)
	case !ValidName(s.Name):
		return errors.New("that is no name of a service")
	case len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]):
		return errors.New("its program has no absolute path")
	case len(s.Stop) > 0 && !filepath.IsAbs(s.Stop[0]):
		return errors.New("the program that stops it has no absolute path")
	case (s.Remains || s.When != "" || len(s.Stop) > 0) && !s.Once || s.Remains && s.When != "" || len(s.Stop) > 0 && !s.Remains:
		return errors.New("only what runs once can wait for a file, or remain and be stopped by a program")
	case s.Watchdog < 0 || s.Watchdog > int(maxWatchdog/time.Second) || s.Grace < 0 || s.Grace > int(maxGrace/time.Second):
		return errors.New("one of its times cannot be")
	}
	for _, path := range slices.Concat(s.EnvFiles, s.Folders, []string{s.Log}) {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	for _, module := range s.Modules {
		if !regexp.MustCompile(`^[a-z0-9_]{1,60}$`).MatchString(module) {
			return fmt.Errorf("%q is no kernel module", module)
		}
	}
	for _, path := range []string{s.Needs, s.When} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%q is no absolute path", path)
		}
	}
	return nil
}

// Folder is where the definitions lie, below the agent's state folder.
func Folder(state string) string { return filepath.Join(state, "services") }

// File is where a service is defined.
func File(folder, name string) string { return filepath.Join(folder, name+".json") }

// mark is the file that says that a service starts with the machine.
func mark(folder, name string) string { return filepath.Join(folder, name+".enabled") }

// load reads all definitions, each after those that it starts after. What cannot be read is told and left out: one damaged file
// must not keep the others from starting.
func load(folder string) (all []Service, err error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range paths[:min(len(paths), maxServices)] {
		s, err := read(path)
		if err == nil && File(folder, s.Name) != path {
			err = fmt.Errorf("cannot take %s: it defines %s", path, s.Name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, s)
	}
	return ordered(all), errors.Join(errs...)
}

func read(path string) (Service, error) {
	content, err := atomicfile.Read(path, maxDefinition)
	if err != nil {
		return Service{}, err
	}
	return Parse(content)
}

// ordered puts every service behind those that it comes after; a circle is broken somewhere.
func ordered(all []Service) []Service {
	slices.SortFunc(all, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	var out []Service
	seen := map[string]bool{}
	var visit func(s Service)
	visit = func(s Service) {
		if seen[s.Name] {
			return
		}
		seen[s.Name] = true
		for _, before := range all {
			if slices.Contains(s.After, before.Name) {
				visit(before)
			}
		}
		out = append(out, s)
	}
	for _, s := range all {
		visit(s)
	}
	return out
}

// Enabled reports whether a service starts with the machine.
func Enabled(folder, name string) bool {
	_, err := os.Lstat(mark(folder, name))
	return err == nil
}

// Installed reports whether there are services here, and the program of each.
func Installed(folder string) (any, whole bool) {
	all, err := load(folder)
	whole = err == nil
	for _, s := range all {
		if _, err := os.Stat(s.Argv[0]); err != nil {
			whole = false
		}
	}
	return len(all) > 0, whole && len(all) > 0
}
