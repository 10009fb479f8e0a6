package distro

import (
	"context"
	"maps"
	"os"
	"testing"
	"time"
)

// TestLiveAddresses makes the network of a cluster in the real engine of this machine, with containers that play its nodes, and
// wants each to have its address again after the engine has been stopped, though they are started in another order. PIPEOPS_LIVE_IMAGE names an image
// that the engine has. Only in a machine of the lab.
func TestLiveAddresses(t *testing.T) {
	image := os.Getenv("PIPEOPS_LIVE_IMAGE")
	if image == "" {
		t.Skip("changes this machine: only in a machine of the lab")
	}
	n, err := kindNodes().cluster(Install{Dir: t.TempDir(), Ready: func(context.Context) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	n.nodes.apiPort = "0/tcp" // they publish none
	run := func(argv ...string) {
		t.Helper()
		if _, err := n.runFor(t.Context(), time.Minute, argv...); err != nil {
			t.Fatal(err)
		}
	}
	c, err := n.engineOf(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { c.Close() }()
	defer func() {
		if _, err := n.remove(context.WithoutCancel(t.Context()), nil); err != nil {
			t.Error(err)
		}
	}()
	if err := n.makeNetwork(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := n.makeNetwork(t.Context(), c); err == nil {
		t.Error("the network was made twice")
	}
	for name, role := range map[string]string{"pipeops-worker": "worker", "pipeops-external-load-balancer": "external-load-balancer", "pipeops-control-plane": "control-plane", "pipeops-control-plane2": "control-plane"} {
		run("docker", "run", "--detach", "--name", name, "--net", kindNetwork, "--restart=on-failure:1",
			"--label", "io.x-k8s.kind.cluster="+ClusterName, "--label", "io.x-k8s.kind.role="+role, image)
	}
	addresses := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		nodes, err := n.containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes {
			d, err := c.Container(t.Context(), node.ID)
			if err != nil {
				t.Fatal(err)
			}
			if d.HostConfig.RestartPolicy.Name != "no" {
				t.Errorf("the engine starts %s by itself: %s", node.Name(), d.HostConfig.RestartPolicy.Name)
			}
			all[node.Name()] = d.NetworkSettings.Networks[kindNetwork].IPAddress
		}
		return all
	}
	if err := n.start(t.Context(), func(string) {}); err != nil {
		t.Fatal(err)
	}
	made := addresses()
	for range 3 {
		run("systemctl", "stop", "docker.socket", "docker.service")
		run("systemctl", "start", "docker.socket", "docker.service")
		if err := n.awaitEngine(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.start(t.Context(), func(string) {}); err != nil {
			t.Fatal(err)
		}
		if got := addresses(); !maps.Equal(got, made) || len(got) != 4 {
			t.Errorf("%v, before: %v", got, made)
		}
	}
	t.Logf("%v", made)
}
