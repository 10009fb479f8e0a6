package distro

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const sharedRootFile = k3sUnit + ".d/50-pipeops-shared-root.conf"

// servicesOff stops units that are in the way, and keeps them from starting at boot. Undone, they are as they were.
func (k *k3sInstall) servicesOff(r Remedy) (plan.Step, error) {
	unit := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:_.@\\-]*\.(service|socket|timer|path)$`)
	for _, v := range r.Values {
		if !unit.MatchString(v) {
			return plan.Step{}, r.invalid(v)
		}
	}
	return plan.Step{
		ID: "services-off", Title: "Stop what is in the way of Kubernetes",
		Changes: []string{strings.Join(r.Values, ", ") + " (stopped, disabled)"},
		Done: func(ctx context.Context) (bool, error) {
			for _, name := range r.Values {
				s, err := k.Units.State(ctx, name)
				if err != nil || s.Enabled() || s.Active == "active" || s.Active == "activating" {
					return false, err
				}
			}
			return true, nil
		},
		Do: func(ctx context.Context, rec *plan.Recorder) error {
			for _, name := range r.Values {
				if err := k.serviceOff(ctx, rec, name); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func (k *k3sInstall) serviceOff(ctx context.Context, rec *plan.Recorder, name string) error {
	s, err := k.Units.State(ctx, name)
	if err != nil {
		return err
	}
	if s.Enabled() {
		enable := plan.Reversal{Undo: enabling(k.OpenRC, name)}
		err := rec.Act("unit-disabled", name, enable, func() error {
			return errors.Join(k.Units.Disable(ctx, name), k.Units.Reload(ctx)) // until then systemd answers as before
		})
		if err != nil {
			return err
		}
	}
	if s.Active == "active" || s.Active == "activating" {
		start := plan.Reversal{Undo: starting(k.OpenRC, name)}
		return rec.Act("unit-stopped", name, start, func() error { return k.Units.Stop(ctx, name) })
	}
	return nil
}

// sharedRoot has "/" made a shared mount each time before k3s starts: nobody else does where the system that starts
// systemd has mounted it otherwise (WSL), and volumes with mount propagation fail. For OpenRC see script.
func (k *k3sInstall) sharedRoot(Remedy) (plan.Step, error) {
	content := ownMarker + ".\n[Service]\nExecStartPre=/bin/mount --make-rshared /\n"
	k.started = append(k.started, content)
	return k.fileStep("shared-root", `Make "/" a shared mount`, k.asWorker(sharedRootFile), content), nil
}

// fileStep writes one file of ours.
func (k *k3sInstall) fileStep(id, title, target, content string) plan.Step {
	return plan.Step{
		ID: id, Title: title, Changes: []string{target},
		Done: func(context.Context) (bool, error) { return sameFile(k.path(target), 0o644, []byte(content)) },
		Do: func(_ context.Context, rec *plan.Recorder) error {
			return rec.WriteFile(target, 0o644, []byte(content))
		},
	}
}

// unmanaged keeps NetworkManager from the interfaces of pods, which it would take for its own and configure.
func (k *k3sInstall) unmanaged(Remedy) (plan.Step, error) {
	step := k.fileStep("networkmanager", "Keep NetworkManager from the interfaces of pods", "/etc/NetworkManager/conf.d/50-pipeops-agent.conf",
		ownMarker+".\n[keyfile]\nunmanaged-devices=interface-name:cni*;interface-name:flannel*;interface-name:veth*;interface-name:cali*\n")
	reload := func(ctx context.Context) error {
		err := k.change(ctx, "nmcli", "general", "reload", "conf")
		if err == nil {
			return nil
		}
		if second := k.change(ctx, "systemctl", "reload", "NetworkManager.service"); second != nil { // nmcli before 1.22 cannot
			return errors.Join(err, second)
		}
		return nil
	}
	write := step.Do
	step.Do = func(ctx context.Context, rec *plan.Recorder) error {
		// recorded before the file, so that an undo reloads after the file is gone
		again := plan.Reversal{Undo: []string{"systemctl", "reload", "NetworkManager.service"}, Lax: true}
		if err := rec.Act("reload", "NetworkManager.service", again, func() error { return nil }); err != nil {
			return err
		}
		if err := write(ctx, rec); err != nil {
			return err
		}
		return reload(ctx)
	}
	return step, nil
}
