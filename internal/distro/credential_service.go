package distro

import (
	"bytes"
	"os"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	units "github.com/pipeopshq/pipeops-agent/systemd"
)

// CredentialService returns the step that writes the units which make a new credential for the agent when it asks for one, unless a
// package has brought the same, and starts to wait for that. ok is false under OpenRC, which waits for no file: there the script of the
// agent's service does so when it starts.
func CredentialService(in Install, binary string) (step plan.Step, ok bool, err error) {
	if in.OpenRC {
		return plan.Step{}, false, nil
	}
	if in.Supervised {
		s, err := service{
			Install: in,
			id:      "credential-unit", title: "See that the agent keeps its access to the cluster", name: units.Credential,
			inputs: func() (string, error) { return "", nil }, timeout: time.Minute,
		}.underSupervisor(supervisedCredential(in, binary))
		if err != nil {
			return plan.Step{}, false, err
		}
		return s.step(), true, nil
	}
	content, err := units.CredentialUnit(binary)
	if err != nil {
		return plan.Step{}, false, err
	}
	const dir = "/etc/systemd/system/"
	waits := units.CredentialPathUnit()
	s := service{
		Install: in,
		id:      "credential-unit", title: "See that the agent keeps its access to the cluster",
		name: units.CredentialPath, target: dir + units.CredentialPath, content: waits,
		beside:  []serviceFile{{dir + units.Credential, 0o644, content}},
		inputs:  func() (string, error) { return "", nil },
		timeout: time.Minute,
	}
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		path, errPath := os.ReadFile(in.path(dir + units.CredentialPath))
		makes, errMakes := os.ReadFile(in.path(dir + units.Credential))
		if errPath == nil && errMakes == nil && bytes.Equal(path, waits) && bytes.Equal(makes, content) {
			s.target, s.beside = "", nil
		}
	}
	return s.step(), true, nil
}
