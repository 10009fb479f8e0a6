package remains

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
		if now, err := listLinks(podBridge); err != nil || !slices.Equal(now, []string{"vethours", "cni0", "flannel.1"}) {
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
		// of somebody else, and used by him
		later := []string{"nft add table inet later", "nft add chain inet later KUBE-LATER", "nft add chain inet later others", "nft add rule inet later others jump KUBE-LATER"}
		for _, line := range later {
			program(t, line)
		}
		for range 2 {
			if left, err := (Env{}).rules().Remove(t.Context(), before); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		}
		after, err := digests(c)
		if text := strings.Join(after, "\n"); err != nil || !strings.Contains(text, "inet later KUBE-LATER") {
			t.Errorf("the chain of somebody else is gone: %v\n%s", err, text)
		}
		after = slices.DeleteFunc(after, func(s string) bool { return strings.HasPrefix(s, "inet later") })
		if !slices.Equal(digestsBefore, after) {
			t.Errorf("before %q\nafter %q", digestsBefore, after)
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

// TestLiveMounts wants an end where mounts lie under one of somebody else, and what is not hidden to go.
func TestLiveMounts(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Skip(err)
		}
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		tmpfs := func(point string) {
			t.Helper()
			check(os.MkdirAll(point, 0o755))
			check(unix.Mount("none", point, "tmpfs", 0, ""))
		}
		check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		e := Env{DataDir: "/var/lib/rancher/k3s"}
		before, err := e.mounts().List(t.Context())
		check(err)
		if t.Failed() {
			return
		}
		tmpfs("/run")
		tmpfs("/run/k3s/hidden")
		tmpfs("/run")
		tmpfs("/run/k3s/seen")
		tmpfs("/run/k3s/seen")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		left, err := e.mounts().Remove(ctx, before)
		if want := []string{"/run/k3s/hidden: cannot unmount it: something else is mounted over it"}; err != nil || !slices.Equal(left, want) {
			t.Errorf("left %v, %v", left, err)
		}
		check(unix.Unmount("/run", 0)) // fails where something is still mounted in it
		if left, err := e.mounts().Remove(ctx, before); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	})
}

// TestLiveLinkKinds: modules stay that would take somebody's links with them, also those in another network namespace.
func TestLiveLinkKinds(t *testing.T) {
	inNetworkNamespace(t, func(t *testing.T) {
		before, err := linkKinds()
		if err != nil || before["vxlan"] {
			t.Skip(before, err)
		}
		program(t, "ip link add mine type vxlan id 7 dstport 4789 dev lo")
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Skip(err)
		}
		name := filepath.Join(t.TempDir(), "net") // as "ip netns add" gives it
		home, err := os.Open("/proc/self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		defer home.Close()
		for _, err := range []error{
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), os.WriteFile(name, nil, 0o600),
			unix.Mount("/proc/thread-self/ns/net", name, "", unix.MS_BIND, ""), unix.Setns(int(home.Fd()), unix.CLONE_NEWNET),
		} {
			if err != nil {
				t.Error(err)
			}
		}
		if kinds, err := linkKinds(); err != nil || !kinds["vxlan"] {
			t.Errorf("got %v, %v", kinds, err)
		}
		if err := unix.Unmount(name, 0); err != nil {
			t.Error(err)
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
