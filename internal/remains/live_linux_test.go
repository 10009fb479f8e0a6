package remains

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// inNetworkNamespace runs the test in a network namespace of its own, on a thread that ends with it.
func inNetworkNamespace(t *testing.T, do func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }() // also when the test is skipped
		if err == nil {
			do(t)
		}
	}()
	err := <-done
	if errors.Is(err, unix.EPERM) {
		t.Skip("no network namespaces")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program; who has not got it learns nothing here.
func run(t *testing.T, argv ...string) {
	t.Helper()
	_, err := command.Run(t.Context(), 20*time.Second, argv...)
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Error(err)
	}
}

// program runs one of the machine's in the namespace of this thread.
func program(t *testing.T, line string) {
	t.Helper()
	run(t, strings.Fields(line)...)
}

func TestLiveLinks(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		program(t, "ip link add mine type bridge")
		e := Env{}
		before, err := e.links().List(t.Context())
		if err != nil || len(before) > 0 {
			t.Errorf("before: %v, %v", before, err)
		}
		for _, line := range []string{
			"ip link add cni0 type bridge", "ip link add flannel.1 type vxlan id 1 dstport 8472 dev lo",
			"ip link add vethours type veth peer name peer", "ip link set vethours master cni0",
			"ip link add vethmine type veth peer name peermine",
		} {
			program(t, line)
		}
		if now, err := listLinks(); err != nil || !slices.Equal(now, []string{"vethours", "cni0", "flannel.1"}) {
			t.Errorf("now: %v, %v", now, err)
		}
		for range 2 {
			if left, err := e.links().Remove(t.Context(), before); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		}
		all, err := allLinks()
		if err != nil {
			t.Error(err)
		}
		var names []string
		for _, l := range all {
			names = append(names, l.name)
		}
		for _, want := range []string{"lo", "mine", "vethmine", "peermine"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s is gone", want)
			}
		}
		if slices.Contains(names, "cni0") || slices.Contains(names, "flannel.1") || slices.Contains(names, "vethours") {
			t.Errorf("still there: %v", names)
		}
	})
}

// TestLiveRules makes rules as k3s makes them beside those of others, in both families.
func TestLiveRules(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		for _, line := range []string{
			"nft add table inet mine", "nft add chain inet mine KUBE-MINE", "nft add rule inet mine KUBE-MINE tcp dport 1 drop",
			"iptables-nft -A INPUT -p tcp --dport 2 -m comment --comment mine -j DROP",
			"iptables-nft -N KUBE-OLD", "iptables-nft -A INPUT -j KUBE-OLD",
		} {
			program(t, line)
		}
		if t.Failed() {
			return
		}
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		before, err := listChains(c)
		if err != nil {
			t.Error(err)
			return
		}
		digestsBefore, err := digests(c)
		if err != nil {
			t.Error(err)
		}
		for _, line := range []string{
			"iptables-nft -N KUBE-FORWARD", "iptables-nft -A FORWARD -m comment --comment kubernetes -j KUBE-FORWARD",
			"iptables-nft -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP", "iptables-nft -I INPUT -j KUBE-FORWARD",
			"iptables-nft -A OUTPUT -m mark --mark 0x20000/0x20000 -m comment --comment KUBE-ROUTER_rule -j ACCEPT",
			"iptables-nft -D OUTPUT -m mark --mark 0x20000/0x20000 -m comment --comment KUBE-ROUTER_rule -j ACCEPT",
			"iptables-nft -t nat -N KUBE-SERVICES", "iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES", "iptables-nft -t nat -N KUBE-SVC-X",
			"iptables-nft -t nat -A KUBE-SERVICES -d 10.43.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-X",
			"ip6tables-nft -t mangle -N KUBE-PROXY-CANARY", "nft add table ip kube-proxy", "nft add chain ip kube-proxy services",
		} {
			program(t, line)
		}
		for range 2 {
			if left, err := (Env{}).rules().Remove(t.Context(), before); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		}
		after, err := digests(c)
		if err != nil || !slices.Equal(digestsBefore, after) {
			t.Errorf("before %q\nafter %q\n%v", digestsBefore, after, err)
		}
	})
}

// TestLiveSharedChains wants the chains of CNI to stay that another runtime uses too.
func TestLiveSharedChains(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		nat := func(words ...string) { run(t, append([]string{"iptables-nft", "-t", "nat"}, words...)...) }
		for _, chain := range []string{"CNI-HOSTPORT-DNAT", "CNI-DN-ours", "CNI-DN-theirs"} {
			nat("-N", chain)
		}
		nat("-A", "PREROUTING", "-j", "CNI-HOSTPORT-DNAT")
		nat("-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "-m", "comment", "--comment", `dnat name: "cbr0" id: "1"`, "-j", "CNI-DN-ours")
		nat("-A", "CNI-HOSTPORT-DNAT", "-p", "tcp", "-m", "comment", "--comment", `dnat name: "podman" id: "2"`, "-j", "CNI-DN-theirs")
		nat("-A", "CNI-DN-ours", "-p", "tcp", "-j", "ACCEPT")
		nat("-A", "CNI-DN-theirs", "-p", "tcp", "-m", "comment", "--comment", `dnat name: "podman" id: "2"`, "-j", "ACCEPT")
		if left, err := (Env{}).rules().Remove(t.Context(), nil); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
		c, err := nftables.New()
		if err != nil {
			t.Error(err)
			return
		}
		got, err := digests(c)
		text := strings.Join(got, "\n")
		if err != nil || strings.Contains(text, "CNI-DN-ours") || !strings.Contains(text, "CNI-DN-theirs=1") || !strings.Contains(text, "CNI-HOSTPORT-DNAT=1") {
			t.Errorf("%v\n%s", err, text)
		}
	})
}

func TestLiveSetsAndCounters(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		for _, thing := range []Thing{(Env{}).sets(), (Env{}).counters()} {
			before, err := thing.List(t.Context())
			if err != nil {
				t.Errorf("%s: %v", thing.Kind, err)
			}
			if left, err := thing.Remove(t.Context(), before); err != nil || len(left) > 0 {
				t.Errorf("%s: left %v, %v", thing.Kind, left, err)
			}
		}
	})
}
