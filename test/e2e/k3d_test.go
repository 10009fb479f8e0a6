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

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

const k3dServer = "k3d-pipeops-server-0"

// inDocker is a distribution whose nodes are containers.
type inDocker struct {
	name    string   // as --distro has it
	version string   // of the tool
	server  string   // the container that is the first node
	label   string   // which all nodes have, with the name of the cluster
	others  []string // the containers that are further nodes
	more    []string // arguments of the install
}

var inK3d = inDocker{name: "k3d", version: distro.K3dVersion, server: k3dServer, label: "k3d.cluster"}

// dockerClutter is what a machine's Docker has that was not made for us. The last container does not run, and has a name
// and a label that look like a node of k3d's, of a cluster that is not ours.
const dockerClutter = `
set -e
mkdir -p /srv/image/bin && cp /usr/bin/busybox /srv/image/bin/
ldd /usr/bin/busybox | grep -o '/[^ ]*' | while read lib; do mkdir -p /srv/image$(dirname $lib); cp -L $lib /srv/image$lib; done
tar -C /srv/image -c . | docker import - theirs:1
docker network create theirs
docker volume create theirs
docker run -d --name theirs --network theirs --restart always -v theirs:/data -p 8088:80 theirs:1 /bin/busybox sleep 100000
docker create --name k3d-other-server-0 --label app=k3d --label k3d.cluster=other --label k3d.role=agent theirs:1 /bin/busybox sleep 1
`

// dockerOracle prints what the engine has: containers with their state, images, networks, volumes.
const dockerOracle = `
docker ps -a --no-trunc --format 'docker container {{.ID}} {{.Names}} {{.State}} {{.Ports}} {{.Mounts}} {{.Networks}}'
docker images -a --no-trunc --format 'docker image {{.ID}} {{.Repository}}:{{.Tag}}'
docker network ls --no-trunc --format 'docker network {{.ID}} {{.Name}}'
docker volume ls --format 'docker volume {{.Name}}'
`

// dockerKeeps is what Docker keeps for itself whatever comes and goes: databases and logs of its own.
const dockerKeeps = `^tree /var/lib/(docker|containerd)/`

// withDocker returns the machine line by line, with what its Docker has in place of Docker's own files.
func withDocker(t *testing.T, m *lab.Machine) []string {
	t.Helper()
	own := regexp.MustCompile(dockerKeeps)
	all := slices.DeleteFunc(oracle(t, m), own.MatchString)
	all = append(all, strings.Split(strings.TrimSpace(shell(t, m, dockerOracle)), "\n")...)
	slices.Sort(all)
	return all
}

// dockerMachine is a machine with Docker and clutter in it, and a mirror with k3d.
func (w *world) dockerMachine(t *testing.T) *lab.Machine {
	t.Helper()
	if err := w.AddK3d(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.dockerWithClutter(t)
}

// dockerWithClutter is a machine with Docker and clutter in it.
func (w *world) dockerWithClutter(t *testing.T) *lab.Machine {
	t.Helper()
	m := w.machine(t, lab.Options{Docker: true})
	shell(t, m, dockerClutter)
	return m
}

// installedIn installs such a distribution and the sample project, and wants its page.
func (w *world) installedIn(t *testing.T, m *lab.Machine, d inDocker, cluster string) {
	t.Helper()
	token(t, w.Gateway, m)
	began := time.Now()
	result, err := m.Exec(t.Context(), nil, w.install(cluster, append(d.arguments(), "-o", "json")...)...)
	if err != nil || result.Code != 0 {
		diagnosis, _ := m.Exec(t.Context(), nil, "sh", "-c", "docker ps -a; docker logs --tail 40 "+d.server+"; journalctl --no-pager -n 40 -u 'pipeops-*' -u docker")
		t.Fatalf("install: %v, exit code %d\n%s%s\n%s", err, result.Code, result.Told(), diagnosis.Stdout, diagnosis.Stderr)
	}
	checkEvents(t, result.Stdout)
	t.Logf("installed in %s", time.Since(began).Round(time.Millisecond))
	w.importSample(t, m, d)
	if _, err := w.Deploy(t.Context(), cluster, "web", greeting, 2*time.Minute); err != nil {
		t.Fatalf("%v\n%s", err, shell(t, m, "docker exec "+d.server+" kubectl get pods -A; journalctl --no-pager -n 40 -u pipeops-agent"))
	}
}

// importSample gives the sample image, which no registry of the lab has, to the nodes, as `k3d image import` and `kind load` do.
func (w *world) importSample(t *testing.T, m *lab.Machine, d inDocker) {
	t.Helper()
	for _, node := range append([]string{d.server}, d.others...) {
		importInto(t, m, node)
	}
}

// importInto gives the sample image to a node.
func importInto(t *testing.T, m *lab.Machine, node string) {
	t.Helper()
	image, err := os.Open(rig.SampleTar)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	result, err := m.Exec(t.Context(), image, "docker", "exec", "-i", node, "ctr", "--namespace=k8s.io", "images", "import", "-")
	if err == nil {
		err = result.OK()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// arguments are those of an install of it.
func (d inDocker) arguments() []string { return append([]string{"--distro", d.name}, d.more...) }

// TestK3d goes from a machine with Docker, and with much of somebody else's in it, to an answering project; installs again;
// and uninstalls.
func TestK3d(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.dockerMachine(t)
	w.comesAndGoes(t, m, inK3d, "boxes")
}

// comesAndGoes installs such a distribution, twice, and uninstalls it.
func (w *world) comesAndGoes(t *testing.T, m *lab.Machine, d inDocker, cluster string) {
	t.Helper()
	before, spaces := withDocker(t, m), shell(t, m, netNamespaces)
	w.withAgent(t, m)
	w.installedIn(t, m, d, cluster)
	w.looksRight(t, m, d, cluster)
	t.Run("second install", func(t *testing.T) { secondInstallIn(t, w, m, d, cluster) })
	uninstalledFrom(t, m, before, spaces, withDocker)
}

// looksRight wants the conditions of the agent to hold, the node to be ready at the far end, and the kubeconfig to be root's.
func (w *world) looksRight(t *testing.T, m *lab.Machine, d inDocker, cluster string) {
	t.Helper()
	status, err := agentStatus(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("status: %+v", status)
	for _, kind := range []string{"ClusterReachable", "Tunnel"} {
		eventually(t, time.Minute, kind, func(ctx context.Context) error { return condition(ctx, m, kind, "True") })
	}
	if nodes := output(t, w.kubectlFor(t, cluster)("get", "nodes")); !strings.Contains(nodes, d.server) || !strings.Contains(nodes, " Ready ") {
		t.Errorf("nodes:\n%s", nodes)
	}
	if mode := shell(t, m, "stat -c '%a %U' /etc/pipeops-agent/"+d.name+"/kubeconfig"); mode != "600 root" {
		t.Errorf("the kubeconfig is %s, want 600 root", mode)
	}
}

// uninstalledFrom uninstalls and wants the machine, and what is in its Docker, to be as before.
func uninstalledFrom(t *testing.T, m *lab.Machine, before []string, spaces string, oracle func(*testing.T, *lab.Machine) []string) {
	t.Helper()
	uninstall(t, m, 0)
	shell(t, m, "rm -f "+rig.TokenFile)
	eventually(t, 2*time.Minute, "the engine tidies up the network namespaces of containers that are gone, every minute", func(context.Context) error {
		if now := shell(t, m, netNamespaces); now != spaces {
			return fmt.Errorf("%s, before it were %s", now, spaces)
		}
		return nil
	})
	asBeforeWith(t, m, before, oracle)
}

// netNamespaces counts those that the engine keeps.
const netNamespaces = "ls /run/docker/netns | wc -l"

// secondInstallIn runs the same install again, without the token: it must change nothing, and say so.
func secondInstallIn(t *testing.T, w *world, m *lab.Machine, d inDocker, cluster string) {
	shell(t, m, "rm "+rig.TokenFile)
	const tree = `find /etc /usr/local /var/lib/pipeops-agent/identity -type f | sort | xargs sha256sum; systemctl show -p MainPID pipeops-agent docker; docker inspect -f '{{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $(docker ps -aq --no-trunc | sort)`
	before := shell(t, m, tree)
	result, err := m.Exec(t.Context(), nil, w.install(cluster, d.arguments()...)...)
	if err != nil || result.Code != 0 {
		t.Fatalf("%v, exit code %d\n%s", err, result.Code, result.Told())
	}
	if !strings.Contains(result.Stdout+result.Stderr, "Nothing to change") {
		t.Errorf("it does not say that nothing was changed:\n%s", result.Told())
	}
	if after := shell(t, m, tree); before != after {
		t.Errorf("it has changed\n%s", difference(before, after))
	}
}

// TestRebootsK3d reboots a machine with k3d, and cuts its power.
func TestRebootsK3d(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.dockerMachine(t)
	w.survivesIn(t, m, inK3d, "boxes-again")
}

// survivesIn reboots a machine with such a distribution, and cuts its power; what somebody else has in the engine is as before.
func (w *world) survivesIn(t *testing.T, m *lab.Machine, d inDocker, cluster string) {
	t.Helper()
	w.withAgent(t, m)
	w.installedIn(t, m, d, cluster)
	survives(t, w, m, cluster, nil)
	if state := shell(t, m, "docker inspect -f '{{.State.Status}}' theirs k3d-other-server-0"); state != "running\ncreated" {
		t.Errorf("the containers of somebody else are %q", state)
	}
}
