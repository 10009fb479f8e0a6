//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestRebootsK3dNodes: a cluster of three servers is there again after reboots and power cuts: each node has the address that it had, and
// each server reads what a majority of etcd agrees on.
//
// It is not parallel: three API servers start at once, on the cores that another test would need, and what is measured is when they answer.
func TestRebootsK3dNodes(t *testing.T) {
	w := newWorld(t)
	m := w.severalNodes(t)
	before, spaces := withDockerOfAnyBoot(t, m), shell(t, m, netNamespaces)
	w.withAgent(t, m)
	d := inK3d
	d.others, d.more = []string{"k3d-pipeops-server-1", "k3d-pipeops-server-2"}, []string{"--nodes", "3"}
	w.installedIn(t, m, d, "racks")
	w.staysAndGoes(t, m, d, "racks", before, spaces)
}

// TestRebootsK3dWorkers: the same of one server with a worker, and with one that is added when the cluster is there.
func TestRebootsK3dWorkers(t *testing.T) {
	w := newWorld(t)
	m := w.severalNodes(t)
	before, spaces := withDockerOfAnyBoot(t, m), shell(t, m, netNamespaces)
	w.withAgent(t, m)
	d := inK3d
	d.others, d.more = []string{"k3d-pipeops-agent-0"}, []string{"--workers", "1"}
	w.installedIn(t, m, d, "shelves")

	const late = "k3d-pipeops-worker1-0"
	d.others, d.more = append(d.others, late), []string{"--workers", "2"}
	began := time.Now()
	if result, err := m.Exec(t.Context(), nil, w.install("shelves", d.arguments()...)...); err != nil || result.Code != 0 {
		t.Fatalf("a worker more: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	t.Logf("a worker more in %s", time.Since(began).Round(time.Millisecond))
	importInto(t, m, late)
	w.staysAndGoes(t, m, d, "shelves", before, spaces)
}

// severalNodes is a machine with Docker, for a cluster of several nodes.
func (w *world) severalNodes(t *testing.T) *lab.Machine {
	t.Helper()
	if os.Getenv("E2E_REBOOTS") == "" {
		t.Skip("E2E_REBOOTS is not set: where it says how often, several nodes in k3d are rebooted too, which takes from five minutes on")
	}
	return w.dockerMachine(t)
}

// staysAndGoes reboots a machine with a cluster of several nodes and cuts its power, installs again, and uninstalls.
func (w *world) staysAndGoes(t *testing.T, m *lab.Machine, d inDocker, cluster string, before []string, spaces string) {
	t.Helper()
	w.looksRight(t, m, d, cluster)
	const addresses = `docker inspect -f '{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' $(docker ps -aq --filter label=k3d.cluster=pipeops) | sort`
	had, kubectl := shell(t, m, addresses), w.kubectlFor(t, cluster)
	t.Logf("addresses:\n%s", had)
	whole := func(when string) {
		t.Helper()
		began := time.Now()
		eventually(t, 2*time.Minute, "all nodes are ready "+when, func(ctx context.Context) error {
			out, err := kubectl("get", "nodes", "--no-headers").CombinedOutput()
			if err != nil || strings.Count(string(out), " Ready ") != 1+len(d.others) {
				return fmt.Errorf("%w: %s", err, out)
			}
			_, err = m.Shell(ctx, `for node in $(docker ps -q --filter label=k3d.cluster=pipeops --filter label=k3d.role=server); do docker exec $node kubectl get --raw=/readyz || exit 1; done`)
			return err
		})
		load, _ := os.ReadFile("/proc/loadavg")
		t.Logf("%s: all nodes ready %s later, load %s", when, time.Since(began).Round(100*time.Millisecond), strings.TrimSpace(string(load)))
		if now := shell(t, m, addresses); now != had {
			t.Errorf("%s the addresses differ\n%s", when, difference(had, now))
		}
	}
	whole("at first")
	survives(t, w, m, cluster, whole)
	t.Run("second install", func(t *testing.T) { secondInstallIn(t, w, m, d, cluster) })
	uninstalledFrom(t, m, before, spaces, withDockerOfAnyBoot)
}

// ofThisBoot is what is named anew whenever a machine or its engine is started: namespaces of containers, the engine's sockets, its
// usual network, and a port of containerd's on the loopback.
var ofThisBoot = regexp.MustCompile(`net:\[[0-9]+\]|/run/docker/(netns|libnetwork)/[0-9a-f]+|[0-9a-f]{64} bridge|0100007F:[0-9A-F]{4}`)

// ofLastBoot is what the network of a machine of the lab, which outlives its power, may have kept of containers that it does not have
// any more: links whose other ends are gone with the power of a machine in the world.
var ofLastBoot = regexp.MustCompile(`^(link |sysctl net\.\S+\.)veth`)

// withDockerOfAnyBoot is withDocker with how many there are of what has another name after each start.
func withDockerOfAnyBoot(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	count := map[string]int{}
	for _, line := range withDocker(t, m) {
		if !ofLastBoot.MatchString(line) {
			count[ofThisBoot.ReplaceAllString(line, "*")]++
		}
	}
	var all []string
	for line, n := range count {
		all = append(all, fmt.Sprintf("%s (%d)", line, n))
	}
	slices.Sort(all)
	return all
}
