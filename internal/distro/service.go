package distro

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// startsThatPass is how many more starts a service gets that has ended of what passes.
const startsThatPass = 2

// service is a systemd unit, or a service of OpenRC, that a step writes, enables, starts, and starts anew when what it runs
// on has changed.
type service struct {
	Install
	id, title string
	name      string                 // k3s.service
	kind      string                 // for people; "" means that it is a systemd unit
	target    string                 // where its file is written; "" when a package has brought it
	mode      fs.FileMode            // of the file; 0 means 0644
	content   []byte                 // of the file
	beside    []serviceFile          // further files that belong to it
	log       string                 // the file that it logs to; "" means the journal
	rotate    string                 // where it is said that the log is to be kept short; "" means nowhere
	inputs    func() (string, error) // tells apart what the process is started with: binary, configuration
	timeout   time.Duration          // until it is active

	ready func(ctx context.Context) error                   // asks whether it is of use already, where being active does not say so
	makes func(ctx context.Context, r *plan.Recorder) error // records what the running service will make; nil means nothing
	// clear takes away what is left of a start that ended and keeps the next one from coming about; nil means nothing.
	clear func() error
	// diagnose lets judge, [Diagnose] or [Suspect], find the cause in what was said; nil where the causes are not known.
	diagnose func(ctx context.Context, words Words, judge judge) (Diagnosis, bool)
}

func (s service) step() plan.Step {
	running := false // before this run
	step := plan.Step{
		ID: s.id, Title: s.title, Timeout: s.timeout,
		Changes: []string{s.describe() + " (enabled, started)"},
		Done: func(ctx context.Context) (bool, error) {
			present, err := s.present()
			if err != nil || !present {
				return false, err
			}
			same, err := s.sameInputs()
			if err != nil || !same {
				return false, err
			}
			state, err := s.Units.State(ctx, s.name)
			return (state.Active == "active" || state.Starting()) && state.Enabled(), err
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			state, err := s.Units.State(ctx, s.name)
			if err != nil {
				return err
			}
			running = state.Active == "active" && r.Settled(unitStarted, s.name)
			return s.do(ctx, r, running)
		},
		Prove: s.prove,
		Revive: func(ctx context.Context) error {
			if !running {
				return nil
			}
			return s.Units.RestartNoWait(ctx, s.name) // a cluster that works is not taken down because it could not be changed
		},
	}
	for _, f := range slices.Backward(s.files()) {
		step.Changes = append([]string{f.target}, step.Changes...)
	}
	return step
}

// describe names what it is for people.
func (s service) describe() string {
	if s.kind != "" {
		return s.kind
	}
	return "systemd unit " + s.name
}

// serviceFile is a file that belongs to a service.
type serviceFile struct {
	target  string
	mode    fs.FileMode
	content []byte
}

// files lists what is written before it is started.
func (s service) files() []serviceFile {
	var all []serviceFile
	if s.target != "" {
		all = append(all, serviceFile{s.target, cmp.Or(s.mode, 0o644), s.content})
	}
	all = append(all, s.beside...)
	if s.rotate != "" {
		all = append(all, serviceFile{s.rotate, 0o644, rotation(s.log)})
	}
	return all
}

// do starts the service, anew if it is running. One that runs although no install has come to the end of this step was started
// by a boot, after a power cut: that it runs is our doing.
func (s service) do(ctx context.Context, r *plan.Recorder, running bool) error {
	if err := s.write(ctx, r); err != nil {
		return err
	}
	inputs, err := s.inputsDigest()
	if err != nil {
		return err
	}
	if err := s.traces(ctx, r); err != nil {
		return err
	}
	if s.makes != nil { // before a boot can start it
		if err := s.makes(ctx, r); err != nil {
			return err
		}
	}
	before := "inactive"
	if running {
		before = "active"
	}
	err = r.Note(unitStarted, s.name, before, "active", func() error {
		if err := s.enable(ctx, r); err != nil {
			return err
		}
		return s.startAnew(ctx)
	})
	if err != nil {
		return err
	}
	// after the start, so that a run that is stopped between the two starts it again
	return atomicfile.Write(s.stamp(), 0o600, []byte(inputs))
}

// startAnew starts the service, whatever became of its starts before.
func (s service) startAnew(ctx context.Context) error {
	if s.clear != nil {
		if err := s.clear(); err != nil {
			return err
		}
	}
	if err := s.Units.ResetFailed(ctx, s.name); err != nil {
		return err
	}
	return s.Units.RestartNoWait(ctx, s.name)
}

// write writes the files of the service, and has them read.
func (s service) write(ctx context.Context, r *plan.Recorder) error {
	there, err := s.present()
	if err != nil {
		return err
	}
	if !there { // recorded before the files, so that an undo reloads after they are as before
		if err := r.Note(unitsRead, s.name, "before", "after", func() error { return nil }); err != nil {
			return err
		}
	}
	for _, f := range s.files() {
		if err := r.WriteFile(f.target, f.mode, f.content); err != nil {
			return err
		}
	}
	return s.Units.Reload(ctx)
}

// enable makes the service start at boot.
func (s service) enable(ctx context.Context, r *plan.Recorder) error {
	state, err := s.Units.State(ctx, s.name)
	if err != nil {
		return err
	}
	return r.Note(unitEnabled, s.name, state.File, "enabled", func() error { return s.Units.Enable(ctx, s.name) })
}

// judge finds a cause in words.
type judge func(Words, host.Facts) (Diagnosis, bool)

func (s service) prove(ctx context.Context) error {
	err := s.await(ctx)
	if err == nil {
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) { // by the user, who waits
		return err
	}
	said, d, ok := s.look(context.WithoutCancel(ctx), Diagnose)
	if ok {
		return d.Err(err)
	}
	if last := telling(said.Unit); last != "" {
		err = fmt.Errorf("%w; its last words: %s", err, last)
	}
	return err
}

// await waits until the service is of use.
func (s service) await(ctx context.Context) error {
	wait := func(ctx context.Context) error {
		for again := 0; ; again++ {
			err := s.Units.WaitActive(ctx, s.name)
			if err == nil && s.ready != nil {
				err = s.waitReady(ctx)
			}
			if err == nil || again == startsThatPass || ctx.Err() != nil {
				return err
			}
			if _, d, ok := s.look(ctx, Diagnose); !ok || !d.Cause.Passes {
				return err
			}
			if err := s.startAnew(ctx); err != nil {
				return err
			}
		}
	}
	if s.Suspect == nil || s.diagnose == nil {
		return wait(ctx)
	}
	return Suspecting(ctx, func(ctx context.Context) (Diagnosis, bool) {
		_, d, ok := s.look(ctx, Suspect)
		return d, ok
	}, s.Suspect, wait)
}

// look reads what the service said, and what judge makes of it.
func (s service) look(ctx context.Context, judge judge) (said Words, d Diagnosis, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, lastWordsTimeout)
	defer cancel()
	said = s.words(ctx, s.name, s.log)
	if s.diagnose != nil {
		d, ok = s.diagnose(ctx, said, judge)
	}
	return said, d, ok
}

// present reports whether its files are as they should be.
func (s service) present() (bool, error) {
	for _, f := range s.files() {
		if same, err := sameFile(s.path(f.target), f.mode, f.content); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// stamp is the file that says what the unit was last started with.
func (s service) stamp() string { return s.Install.stamp(s.name) }

func (s service) sameInputs() (bool, error) {
	inputs, err := s.inputsDigest()
	if err != nil {
		return false, err
	}
	last, err := os.ReadFile(s.stamp())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(last) == inputs, err
}

func (s service) inputsDigest() (string, error) {
	inputs, err := s.inputs()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(inputs+"\x00"), s.content...))
	return hex.EncodeToString(sum[:]), nil
}

// sameFile reports whether a file has this content and mode.
func sameFile(path string, mode fs.FileMode, content []byte) (bool, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != mode || st.Size() != int64(len(content)) {
		return false, err
	}
	got, err := os.ReadFile(path)
	return bytes.Equal(got, content), err
}
