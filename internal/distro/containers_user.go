package distro

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// dockerGroup is the group whose members may ask the engine: as good as root.
const dockerGroup = "docker"

// runsAs is the user that runs the program; "" is root.
func (n *nodeCluster) runsAs() string {
	if n.MinikubeForce {
		return ""
	}
	return n.nodes.user
}

// as returns the argv by which a program is run with the rights of the user.
func (n *nodeCluster) as(argv ...string) []string {
	if user := n.runsAs(); user != "" {
		return append([]string{"runuser", "--user", user, "--"}, argv...)
	}
	return argv
}

// userCanBe refuses a machine without the programs by which a user is made and used: Alpine has them in packages of their own.
func (n *nodeCluster) userCanBe() error {
	if n.runsAs() == "" {
		return nil
	}
	var missing []string
	for _, name := range []string{"useradd", "userdel", "runuser", "getent"} {
		if !hasCommand(n.Install, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return reason.Newf(reason.MinikubeRoot, "a user of its own has to run %s, and there is no %s", n.nodes.name, strings.Join(missing, ", ")).
		WithFix("install what has them (Alpine: apk add shadow runuser); or let root run it, with --minikube-force; or choose --distro k3d")
}

// userMade makes the user that runs the program, in the group of the engine, and a folder that only it can read. Undone, both go.
func (n *nodeCluster) userMade() plan.Step {
	user, home := n.nodes.user, n.nodes.home
	changes := []string{"user " + user + " in the group " + dockerGroup + ", which gives it the rights of root", home}
	if n.runsAs() == "" {
		changes = []string{home}
	}
	return plan.Step{
		ID: n.nodes.name + "-user", Title: "Make a user for " + n.nodes.name, Changes: changes,
		Done: func(ctx context.Context) (bool, error) {
			if _, err := os.Lstat(n.path(home)); err != nil || !n.recorded(home) {
				return false, nil
			}
			return n.runsAs() == "" || n.inGroup(ctx), nil
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			if n.runsAs() == "" {
				if err := r.Own(home); err != nil {
					return err
				}
				return os.MkdirAll(n.path(home), 0o700)
			}
			if _, err := n.run(ctx, "getent", "group", dockerGroup); err != nil {
				return reason.New(reason.MinikubeRoot, "there is no group "+dockerGroup+", whose members could ask the engine", err)
			}
			if _, err := n.run(ctx, "id", "-u", user); err != nil {
				undo := plan.Reversal{Check: []string{"id", "-u", user}, Undo: []string{"userdel", user}, Lax: true}
				err := r.Act("user", user, undo, func() error {
					return n.change(ctx, "useradd", "--system", "--no-create-home", "--home-dir", home, "--shell", "/usr/sbin/nologin",
						"--user-group", "--groups", dockerGroup, "--comment", "runs minikube for pipeops-agent", user)
				})
				if err != nil {
					return err
				}
			}
			if err := r.Own(home); err != nil {
				return err
			}
			return n.change(ctx, "install", "--directory", "--mode=0700", "--owner="+user, "--group="+user, n.path(home))
		},
		Prove: func(ctx context.Context) error {
			if n.runsAs() == "" || n.inGroup(ctx) {
				return nil
			}
			return fmt.Errorf("the user %s is there, and not in the group %s", user, dockerGroup)
		},
	}
}

// inGroup reports whether the user may ask the engine.
func (n *nodeCluster) inGroup(ctx context.Context) bool {
	out, err := n.run(ctx, "id", "-nG", n.nodes.user)
	for group := range strings.FieldsSeq(string(out)) {
		if group == dockerGroup {
			return err == nil
		}
	}
	return false
}

// copied returns the kubeconfig that the program has written, read with the rights of its user: it may be a link to anywhere.
func (n *nodeCluster) copied(ctx context.Context) ([]byte, error) {
	return n.runFor(ctx, time.Minute, n.as("cat", n.nodes.kubeconfigCopy(n.Install))...)
}
