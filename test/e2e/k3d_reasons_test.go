//go:build e2e

package e2e

import (
	"context"
	"os"
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
	// untouched wants a command to fail so, soon, and the machine and its engine to be as before.
	untouched := func(t *testing.T, argv []string, code string, exit int) lab.Result {
		t.Helper()
		docker, files, began := steadyDocker(t, m), shell(t, m, fingerprint), time.Now()
		result := run(t, argv...)
		took := time.Since(began)
		if t.Logf("%s after %s", code, took.Round(time.Millisecond)); took > 30*time.Second {
			t.Errorf("it took %s to say so", took)
		}
		checkFailure(t, result, code, exit)
		if diff := difference(docker+"\n"+files, steadyDocker(t, m)+"\n"+shell(t, m, fingerprint)); diff != "" {
			t.Errorf("the machine is not as before:\n%s", diff)
		}
		return result
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
			untouched(t, k3d(tt.more...), tt.code, tt.exit)
			shell(t, m, "true\n"+tt.after)
		})
	}
	t.Run("image missing", func(t *testing.T) { w.imageMissing(t, m, untouched, k3d) })
	theirs := steadyDocker(t, m)
	w.installedIn(t, m, inK3d, "reasons")

	untouched(t, k3d("--nodes", "3"), "CLUSTER_FIXED", 2)

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

// imageMissing asks for nodes whose image no mirror has: one that no release lists, and one that is only in a registry, which nobody
// reaches. Then somebody loads it, as the failure says, and the engine has it.
func (w *world) imageMissing(t *testing.T, m *lab.Machine, untouched func(*testing.T, []string, string, int) lab.Result, k3d func(...string) []string) {
	const missing, load = "ENGINE_IMAGE_MISSING", "docker load -i FILE here"
	wayOut := func(result lab.Result, image string) {
		t.Helper()
		if !strings.Contains(result.Stdout, image) || !strings.Contains(result.Stdout, load) {
			t.Errorf("it does not say how to load %s:\n%s", image, result.Told())
		}
	}
	wayOut(untouched(t, k3d("--k3s-version", "v1.33.99+k3s1"), missing, 20), "rancher/k3s:v1.33.99-k3s1")
	list, err := w.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range list.Files {
		if f.Product == "k3d" && f.Name == "node-image" {
			list.Files[i].Name, list.Files[i].Origin = "node-image-digest", "https://registry-1.docker.io"
		}
	}
	if err := w.Publish(list); err != nil {
		t.Fatal(err)
	}
	result := untouched(t, k3d(), missing, 20)
	wayOut(result, "rancher/k3s:v1.33.2-k3s1")

	file, err := w.NodeImage("k3d")
	if err != nil {
		t.Fatal(err)
	}
	archive, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if result, err = m.Exec(t.Context(), archive, "docker", "load"); err == nil {
		err = result.OK()
	}
	if err != nil {
		t.Fatal(err)
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
