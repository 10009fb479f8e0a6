package distro

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// The files from which k3s gets its environment, as its own installer has them.
const (
	k3sEnv       = k3sUnit + ".env"
	k3sOpenRCEnv = k3sEtc + "/k3s.env"

	envBegin = "# Written by pipeops-agent: the proxies. Changes up to the next such line are lost; yours go before or after them."
	envEnd   = "# Written by pipeops-agent: end"
	// maxEnv bounds an environment file, in bytes; a real one has a few hundred.
	maxEnv = 256 << 10
)

// envFile is where k3s gets its environment from.
func (k *k3sInstall) envFile() string {
	if k.OpenRC || k.Supervised {
		return k3sOpenRCEnv
	}
	return k.asWorker(k3sEnv)
}

// proxyLines are the proxies as the environment of k3s has them; "" without any. Its parts read them: the kubelet and the
// API server the plain ones, containerd those with its name (docs.k3s.io/advanced). Both systemd and a shell read the
// file, and within single quotes both take everything as it is; [proxy.Proxy.Check] has let no such quote pass.
func (k *k3sInstall) proxyLines() string {
	p := k.Proxy
	values := []string{p.HTTP, p.HTTPS, p.NoProxy, p.Containerd.HTTP, p.Containerd.HTTPS, p.Containerd.NoProxy}
	var out strings.Builder
	for i, name := range proxyVariables() {
		if values[i] != "" {
			out.WriteString(name + "='" + values[i] + "'\n")
		}
	}
	return out.String()
}

// proxy writes the proxies into the environment of k3s, or takes those of an earlier install out of it; nil if there is
// nothing to do with either. Lines of somebody else in the file stay.
func (k *k3sInstall) proxy() (*plan.Step, error) {
	lines := k.proxyLines()
	held, err := k.heldEnv()
	if err != nil {
		return nil, err
	}
	if lines == "" && !strings.Contains(held, envBegin) {
		return nil, nil
	}
	step := &plan.Step{ID: "k3s-proxy", Title: "Have k3s use the proxy", Changes: k.proxyChanges()}
	if lines == "" {
		step.Title = "Have k3s use no proxy any more"
	}
	step.Done = func(context.Context) (bool, error) {
		held, err := k.heldEnv()
		want := withBlock(held, lines)
		if err != nil || want == "" {
			return err == nil && held == "", err
		}
		return sameFile(k.path(k.envFile()), 0o600, []byte(want))
	}
	step.Do = func(_ context.Context, r *plan.Recorder) error {
		held, err := k.heldEnv()
		if err != nil {
			return err
		}
		if want := withBlock(held, lines); want != "" {
			return r.WriteFile(k.envFile(), 0o600, []byte(want)) // it may hold a password
		}
		return r.Remove(k.envFile())
	}
	return step, nil
}

// proxyChanges tells of the proxies without passwords.
func (k *k3sInstall) proxyChanges() []string {
	changes := []string{k.envFile() + " (readable by root only)"}
	remark := ""
	if k.Proxy.Source != "" {
		remark = " (of " + k.Proxy.Source + ")"
	}
	shown, images := k.Proxy.Proxy.Shown(), k.Proxy.Containerd.Shown()
	for _, v := range [][3]string{
		{"HTTP_PROXY", shown.HTTP, remark}, {"HTTPS_PROXY", shown.HTTPS, remark}, {"NO_PROXY", shown.NoProxy},
	} {
		if v[1] != "" {
			changes = append(changes, v[0]+" = "+v[1]+v[2])
		}
	}
	for _, v := range [][3]string{
		{"CONTAINERD_HTTP_PROXY", images.HTTP, shown.HTTP}, {"CONTAINERD_HTTPS_PROXY", images.HTTPS, shown.HTTPS},
		{"CONTAINERD_NO_PROXY", images.NoProxy, shown.NoProxy},
	} {
		if v[1] != v[2] {
			changes = append(changes, v[0]+" = "+v[1])
		}
	}
	return changes
}

// heldEnv returns the environment file as it is, "" if there is none.
func (k *k3sInstall) heldEnv() (string, error) {
	path := k.path(k.envFile())
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !st.Mode().IsRegular() || st.Size() > maxEnv:
		return "", errors.New("cannot change " + k.envFile() + ": it is no environment file")
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// withBlock returns an environment file with our lines in place of those that an earlier install wrote, or at the end,
// where they count more than others of the same name. Without lines it is the file without ours. A line of somebody else
// ends ours, wherever it stands.
func withBlock(held, lines string) string {
	if lines != "" {
		lines = envBegin + "\n" + lines + envEnd + "\n"
	}
	var out strings.Builder
	placed, within := false, false
	for line := range strings.Lines(held) {
		name, _, _ := strings.Cut(line, "=")
		line = strings.TrimSuffix(line, "\n") + "\n"
		switch {
		case line == envBegin+"\n":
			if within = true; !placed {
				out.WriteString(lines)
				placed = true
			}
		case line == envEnd+"\n":
			within = false
		case within && slices.Contains(proxyVariables(), name):
		default:
			within = false
			out.WriteString(line)
		}
	}
	if !placed {
		out.WriteString(lines)
	}
	return out.String()
}

func proxyVariables() []string {
	return []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "CONTAINERD_HTTP_PROXY", "CONTAINERD_HTTPS_PROXY", "CONTAINERD_NO_PROXY"}
}
