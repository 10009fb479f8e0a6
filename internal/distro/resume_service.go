package distro

import (
	"bytes"
	"context"
	_ "embed"
	"os"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

//go:embed pipeops-agent-resume.initd
var resumeInitScript string

// ResumeStep is the id of the step of ResumeService.
const ResumeStep = "resume-unit"

// ResumeService returns the step that writes the unit which goes on with what is unfinished, at boot and as soon as the
// install has ended, unless a package has brought the same. It is started if start says so, which is not recorded: it ends
// by itself.
func ResumeService(in Install, binary string, start bool) (plan.Step, error) {
	content, err := units.ResumeUnit(binary)
	if err != nil {
		return plan.Step{}, err
	}
	s := service{Install: in, name: units.Resume, target: "/etc/systemd/system/" + units.Resume, content: content}
	switch {
	case in.Supervised:
		if s, err = s.underSupervisor(supervisedResume(in, binary)); err != nil {
			return plan.Step{}, err
		}
	case in.OpenRC:
		if _, err := agentScript(binary); err != nil { // what would need quoting
			return plan.Step{}, err
		}
		s = s.underOpenRC(strings.Replace(resumeInitScript, "\nagent=/usr/bin/pipeops-agent\n", "\nagent="+binary+"\n", 1))
	default:
		for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
			if packaged, err := os.ReadFile(in.path(dir + units.Resume)); err == nil && bytes.Equal(packaged, content) {
				s.target = ""
			}
		}
	}
	step := plan.Step{
		ID: ResumeStep, Title: "Make sure that an interrupted install goes on by itself", Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, error) {
			there, err := s.present()
			if err != nil || !there {
				return false, err
			}
			state, err := s.Units.State(ctx, s.name)
			return state.Enabled(), err
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if err := s.write(ctx, r); err != nil {
				return err
			}
			if err := s.traces(ctx, r); err != nil {
				return err
			}
			if err := s.enable(ctx, r); err != nil || !start {
				return err
			}
			return s.Units.RestartNoWait(ctx, s.name)
		},
	}
	for _, f := range s.files() {
		step.Changes = append(step.Changes, f.target)
	}
	step.Changes = append(step.Changes, s.describe()+" (enabled)")
	return step, nil
}
