//go:build e2e

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// TestLabNetwork: the address of this side stays what it is while machines come and go. When it was that of a port, tunnels of
// other machines lost 10 to 30 s whenever a machine was booted or taken down.
func TestLabNetwork(t *testing.T) {
	l, err := lab.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureNetwork(t.Context()); err != nil {
		t.Fatal(err)
	}
	kind, err := os.ReadFile("/sys/class/net/pipelab0/addr_assign_type")
	if err != nil || strings.TrimSpace(string(kind)) != "3" { // NET_ADDR_SET of linux/netdevice.h: the user's, no port's
		t.Errorf("address of kind %q, %v", kind, err)
	}
}

// TestCutWhileFrozen: a machine whose power is cut is off, also where a container was just being made in it, which runc freezes.
func TestCutWhileFrozen(t *testing.T) {
	m := newWorld(t).machine(t, lab.Options{})
	said := shell(t, m, `test -d /sys/fs/cgroup/freezer || { echo none; exit; }
		mkdir /sys/fs/cgroup/freezer/cold
		setsid sleep 1000 > /dev/null 2>&1 < /dev/null &
		until grep -q sleep /proc/$!/comm; do :; done # else it has our output still
		echo $! > /sys/fs/cgroup/freezer/cold/cgroup.procs
		echo FROZEN > /sys/fs/cgroup/freezer/cold/freezer.state
		cat /sys/fs/cgroup/freezer/cold/freezer.state`)
	switch strings.TrimSpace(said) {
	case "none":
		t.Skip("no freezer of cgroup version 1 here: others let a process die")
	case "FROZEN":
	default:
		t.Fatalf("got %q", said)
	}
	if err := m.Cut(t.Context()); err != nil {
		t.Fatal(err)
	}
}
