//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestReasonsK3d gives an install what may be wrong in an engine, and then takes its cluster from it. Each must be told with its
// reason, and nothing of somebody else's be touched.
func TestReasonsK3d(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.dockerMachine(t)
	w.withAgent(t, m)
	token(t, w.Gateway, m)
	run := func(t *testing.T, argv ...string) lab.Result {
		t.Helper()
		result, err := m.Exec(t.Context(), nil, argv...)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	k3d := func(more ...string) []string {
		return w.install("reasons", append([]string{"--distro", "k3d", "-o", "json"}, more...)...)
	}
	for _, tt := range []struct {
		name, before, after string // shell
		more                []string
		code                string
		exit                int
	}{
		{name: "port taken", more: []string{"--api-port", "8088"}, code: "NET_PORT_TAKEN", exit: 10}, // by the container "theirs"
		{
			name:   "name taken",
			before: "docker run -d --name k3d-pipeops-server-0 --label app=k3d --label k3d.cluster=pipeops --label k3d.role=server theirs:1 /bin/busybox sleep 100000",
			after:  "docker rm -f k3d-pipeops-server-0",
			code:   "ENGINE_NAME_TAKEN", exit: 10,
		},
		{
			name:   "begun by somebody",
			before: "docker create --name k3d-pipeops-server-0 --label app=k3d --label k3d.cluster=pipeops --label k3d.role=server theirs:1 /bin/busybox sleep 1",
			after:  "docker rm -f k3d-pipeops-server-0",
			code:   "ENGINE_NAME_TAKEN", exit: 10,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shell(t, m, "true\n"+tt.before)
			docker, files := steadyDocker(t, m), shell(t, m, fingerprint)
			checkFailure(t, run(t, k3d(tt.more...)...), tt.code, tt.exit)
			if diff := difference(docker+"\n"+files, steadyDocker(t, m)+"\n"+shell(t, m, fingerprint)); diff != "" {
				t.Errorf("the machine is not as before:\n%s", diff)
			}
			shell(t, m, "true\n"+tt.after)
		})
	}
	theirs := steadyDocker(t, m)
	w.installedIn(t, m, inK3d, "reasons")

	docker, files := steadyDocker(t, m), shell(t, m, fingerprint)
	checkFailure(t, run(t, k3d("--nodes", "3")...), "CLUSTER_FIXED", 2)
	if diff := difference(docker+"\n"+files, steadyDocker(t, m)+"\n"+shell(t, m, fingerprint)); diff != "" {
		t.Errorf("a change that cannot be has changed:\n%s", diff)
	}

	shell(t, m, "docker rm -f "+k3dServer)
	checkFailure(t, run(t, "pipeops-agent", "cluster", "start", "-o", "json"), "CLUSTER_GONE", 40)
	if result := run(t, k3d("--nodes", "1")...); result.Code != 0 {
		t.Errorf("the install that makes it anew: exit code %d\n%s", result.Code, result.Told())
	}
	eventually(t, time.Minute, "ClusterReachable", func(ctx context.Context) error { return condition(ctx, m, "ClusterReachable", "True") })
	now := steadyDocker(t, m)
	for line := range strings.Lines(theirs) {
		if !strings.Contains(now, strings.TrimSpace(line)) {
			t.Errorf("of somebody else's is gone, or another: %s", line)
		}
	}
}

// steadyDocker is what the engine has, the mounts of a container in one order: the engine lists them in any.
func steadyDocker(t *testing.T, m *lab.Machine) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(shell(t, m, dockerOracle)) {
		words := strings.Split(strings.TrimSpace(line), " ")
		for i, word := range words {
			parts := strings.Split(word, ",")
			slices.Sort(parts)
			words[i] = strings.Join(parts, ",")
		}
		all = append(all, strings.Join(words, " ")+"\n")
	}
	return strings.Join(all, "")
}
