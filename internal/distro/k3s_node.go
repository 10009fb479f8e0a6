package distro

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// The units that start k3s, as its own installer has them: a server, and a node that is none.
const (
	serverUnit = "k3s.service"
	workerUnit = "k3s-agent.service"
)

const (
	// k3sJoinToken is the file with the token by which a node joins. It is root's alone, and no command line has it.
	k3sJoinToken = k3sEtc + "/pipeops-agent.token"
)

// JoinInfo is how a machine becomes a node of a k3s cluster that is there. Its zero value but for the role is that of a plan,
// which is shown before the cluster was asked.
type JoinInfo struct {
	Role     wire.Role
	Server   string              // the server that is asked first: "https://10.0.0.1:6443"; the others are learnt from it
	Token    string              // in its full form, K10<digest of the cluster's CA>::...; secret
	Settings map[string][]string // that servers must share, by the names of k3s's configuration file
}

// String hides the token.
func (j JoinInfo) String() string { return string(j.Role) + " of the cluster of " + j.Server }

// GoString hides it from %#v.
func (j JoinInfo) GoString() string { return j.String() }

// worker reports whether the node runs pods only.
func (k *k3sInstall) worker() bool { return k.Join != nil && k.Join.Role == wire.RoleWorker }

// asWorker makes of what starts a server, or of the name of its file, what starts a worker; for a server it is the text as it is.
func (k *k3sInstall) asWorker(text string) string {
	if !k.worker() {
		return text
	}
	return strings.NewReplacer(
		serverUnit, workerUnit,
		k3sBinary+" server", k3sBinary+" agent",
		`command_args="server"`, `command_args="agent"`,
		"/run/k3s.pid", "/run/k3s-agent.pid",
		"/var/log/k3s.log", "/var/log/k3s-agent.log",
		"/etc/conf.d/k3s", "/etc/conf.d/k3s-agent",
		"/etc/default/k3s", "/etc/default/k3s-agent",
	).Replace(text)
}

// checkJoin finds what cannot be the way into a cluster. It never tells the token.
func (k *k3sInstall) checkJoin() error {
	j := k.Join
	if !j.Role.Known() {
		return fmt.Errorf("cannot join as %q: this version does not know that role", j.Role)
	}
	if k.Units == nil && j.Token == "" { // the steps are only shown, and nobody was asked yet
		return nil
	}
	if u, err := url.Parse(j.Server); err != nil || u.Scheme != "https" || "https://"+u.Host != j.Server {
		return fmt.Errorf("cannot join: %.100q is no address of a server", j.Server)
	}
	if _, err := TokenCA(j.Token); err != nil {
		return err
	}
	for name := range j.Settings {
		if !slices.Contains(wire.SharedSettings(), name) {
			return fmt.Errorf("cannot join: %.60q is no setting that servers share", name)
		}
	}
	return nil
}

// TokenCA returns the digest of the cluster's CA in a token of k3s, in hexadecimal. The error never holds any of the token.
func TokenCA(token string) (string, error) {
	m := regexp.MustCompile(`^K10([0-9a-f]{64})::[!-~]{1,512}$`).FindStringSubmatch(token)
	if m == nil {
		return "", fmt.Errorf("cannot join: the token does not name the CA of its cluster (K10<digest>::...)")
	}
	return m[1], nil
}

// workerSettings are those of the settings below that k3s knows on a worker: it fails on every other one.
func workerSettings() []string {
	return []string{"data-dir", "kube-proxy-arg", "kubelet-arg", "node-name", "prefer-bundled-bin", "resolv-conf", "snapshotter"}
}

// joined makes the settings of a node of those that a cluster of its own would have. What servers must share is as the others
// have it, whatever this machine would have had.
func (k *k3sInstall) joined(own map[string]any, whole bool) map[string]any {
	j := k.Join
	settings := map[string]any{"server": j.Server, "token-file": k3sJoinToken}
	if k.worker() {
		for key, value := range own {
			if slices.Contains(workerSettings(), strings.TrimSuffix(key, "+")) {
				settings[key] = value
			}
		}
		return settings
	}
	maps.Copy(settings, own)
	delete(settings, "cluster-init")
	for _, name := range wire.SharedSettings() {
		delete(settings, name)
		delete(settings, name+"+")
		values := j.Settings[name]
		switch {
		case len(values) == 0:
		case name == "disable" || name == "tls-san":
			if !whole {
				name += "+"
			}
			settings[name] = values
		case len(values) > 1:
			settings[name] = values
		case values[0] == "true" || values[0] == "false":
			settings[name] = values[0] == "true"
		default:
			settings[name] = values[0]
		}
	}
	return settings
}

// joinToken writes the token by which the node joins. k3s reads it at each of its starts.
func (k *k3sInstall) joinToken() plan.Step {
	content := []byte(k.Join.Token + "\n")
	return plan.Step{
		ID: "k3s-token", Title: "Keep the token of the cluster", Changes: []string{k3sJoinToken + " (for root only)"},
		Done: func(context.Context) (bool, error) { return sameFile(k.path(k3sJoinToken), 0o600, content) },
		Do:   func(_ context.Context, r *plan.Recorder) error { return r.WriteFile(k3sJoinToken, 0o600, content) },
	}
}

// kubeletAnswers asks the kubelet, since there is no API server on this machine.
func (k *k3sInstall) kubeletAnswers(ctx context.Context) error {
	if k.Ready != nil {
		return k.Ready(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, readyAnswer)
	defer cancel()
	return cluster.KubeletHealthy(ctx)
}

// WorkerKubeconfig returns the kubeconfig of a worker: that of its kubelet, with the rights of its node and no others.
func WorkerKubeconfig(d Decision) string { return nodeData(d) + "/agent/kubelet.kubeconfig" }

// nodeData is the folder of k3s's data by a decision.
func nodeData(d Decision) string {
	for _, r := range d.Remedies {
		if r.ID == RemedyDataDir && len(r.Values) == 1 {
			return r.Values[0]
		}
	}
	return k3sDataDir
}
