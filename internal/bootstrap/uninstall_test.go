package bootstrap

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/baseline"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// removal is an uninstall in a folder, and what it has said.
func removal(t *testing.T) (UninstallOptions, *[]string) {
	t.Helper()
	said := &[]string{}
	return UninstallOptions{
		StateDir: filepath.Join(t.TempDir(), "state"),
		Host:     options(t, "debian12-vm").Host,
		Events:   func(e wire.Event) { *said = append(*said, e.Kind+": "+e.Message) },
		Log:      slog.New(slog.DiscardHandler),
	}, said
}

func says(t *testing.T, said *[]string, want string) {
	t.Helper()
	if all := strings.Join(*said, "\n"); !strings.Contains(all, want) {
		t.Errorf("%q was not said:\n%s", want, all)
	}
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

func enrolled(t *testing.T, g *gatewaytest.Gateway, dir string) {
	t.Helper()
	_, err := identity.Enroll(t.Context(), identity.Options{Dir: filepath.Join(dir, "identity"), Gateway: g.Address, Token: g.Token(""), Cluster: "one"})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUninstallOfNothing(t *testing.T) {
	o, said := removal(t)
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "done: Nothing is installed here")
	gone(t, o.StateDir)
}

// TestUninstallTellsOfTheProgram: that the program goes is said, also where nothing else is here.
func TestUninstallTellsOfTheProgram(t *testing.T) {
	o, said := removal(t)
	o.Program = filepath.Join(t.TempDir(), "pipeops-agent")
	if err := os.WriteFile(o.Program, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	o.programDirs = []string{filepath.Dir(o.Program)}
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "removed: Removed: the program itself, "+o.Program)
	gone(t, o.Program)
}

// TestUninstallLeavesTheGateway is a machine that was enrolled and on which nothing was changed yet.
func TestUninstallLeavesTheGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	o, said := removal(t)
	enrolled(t, g, o.StateDir)
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "has forgotten cluster one")
	gone(t, o.StateDir)
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
}

func TestUninstallWithoutTheGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	o, said := removal(t)
	enrolled(t, g, o.StateDir)
	g.Stop()
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "pipeops-gateway clusters remove one")
	gone(t, o.StateDir)
}

// TestUninstallWithADamagedIdentity cannot tell the gateway, and says so.
func TestUninstallWithADamagedIdentity(t *testing.T) {
	o, said := removal(t)
	enrolled(t, gatewaytest.Start(t), o.StateDir)
	if err := os.WriteFile(filepath.Join(o.StateDir, "identity", "identity.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "left: Left: its gateway may still know this machine")
	gone(t, o.StateDir)
}

func TestUninstallAsksOnce(t *testing.T) {
	o, _ := removal(t)
	enrolled(t, gatewaytest.Start(t), o.StateDir)
	store, err := plan.Open(o.StateDir, "")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	answer := false
	o.Confirm = func(context.Context, Undoing) (bool, error) { asked++; return answer, nil }
	if err := Uninstall(t.Context(), o); !reason.Is(err, reason.Busy) || asked != 0 {
		t.Errorf("while an install runs: %v, asked %d times", err, asked)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), o); err != nil || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	_, begun, err := readUninstallWish(o.StateDir)
	if _, statErr := os.Stat(o.StateDir); errors.Join(err, statErr) != nil || begun {
		t.Errorf("it was begun without a yes: %v", err)
	}
	if err := writeUninstallWish(o.StateDir, uninstallWish{KeepData: true}); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	if _, begun, err := readUninstallWish(o.StateDir); err != nil || !begun {
		t.Errorf("nobody sees that it was begun: %v", err)
	}
	if err := Uninstall(t.Context(), o); err != nil || asked != 1 {
		t.Errorf("one that goes on: %v, asked %d times", err, asked)
	}
	gone(t, o.StateDir)
}

// A state folder of a package, or of an install that was refused, is nothing to ask about.
func TestUninstallOfNothingDoesNotAsk(t *testing.T) {
	o, _ := removal(t)
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	o.Confirm = func(context.Context, Undoing) (bool, error) { t.Error("asked"); return false, nil }
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	gone(t, o.StateDir)
}

// TestHalfDeletedState is a crash while the agent's own state was being deleted.
func TestHalfDeletedState(t *testing.T) {
	o, _ := removal(t)
	if err := errors.Join(os.MkdirAll(filepath.Join(o.StateDir, "blobs"), 0o700), writeUninstallWish(o.StateDir, uninstallWish{})); err != nil {
		t.Fatal(err)
	}
	o.Confirm = func(context.Context, Undoing) (bool, error) { t.Error("asked"); return false, nil }
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	gone(t, o.StateDir)
}

// TestAProgramThatAnotherInstallNeedsStays is an uninstall with the wrong --state-dir.
func TestAProgramThatAnotherInstallNeedsStays(t *testing.T) {
	o, said := removal(t)
	other := filepath.Join(t.TempDir(), "ledger.jsonl")
	o.Program, o.ledger = filepath.Join(programDirs()[0], "pipeops-agent-of-a-test"), other
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if removable, _ := o.program(t.Context()); removable {
		t.Error("it would be removed")
	}
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	says(t, said, "Left: "+o.Program+": the install whose ledger is "+other+" needs it")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if removable, _ := o.program(t.Context()); !removable {
		t.Error("it would not be removed")
	}
}

// TestWhatYieldedToAnUninstallThatWasNotWantedGoesOn has the user say no, after an install that went on by itself has stopped.
func TestWhatYieldedToAnUninstallThatWasNotWantedGoesOn(t *testing.T) {
	for _, answer := range []bool{false, true} {
		m := newMachine(t)
		m.killed("k3s-unit")
		o, _ := removal(t)
		o.StateDir = m.dir
		enrolled(t, gatewaytest.Start(t), o.StateDir)
		o.Confirm = func(context.Context, Undoing) (bool, error) { return answer, nil }
		started := 0
		o.resume = func(context.Context) error { started++; return nil }
		if err := Uninstall(t.Context(), o); err != nil || (started == 1) != !answer {
			t.Errorf("answer %v: started %d times, %v", answer, started, err)
		}
	}
}

// TestAProgramOfSomebodyElseStays wants only the places of install.sh to be cleared.
func TestAProgramOfSomebodyElseStays(t *testing.T) {
	o, _ := removal(t)
	o.Program = filepath.Join(t.TempDir(), "pipeops-agent")
	if err := errors.Join(os.WriteFile(o.Program, nil, 0o700), os.MkdirAll(o.StateDir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.Program); err != nil {
		t.Error(err)
	}
}

func TestDifferencesBySortOfOwner(t *testing.T) {
	all := []baseline.Difference{
		{Kind: baseline.Files, Name: "/var/lib/rancher", Change: "came", Ours: true},
		{Kind: baseline.Files, Name: "/var/lib/kubelet", Change: "came", Ours: true},
		{Kind: baseline.Files, Name: "/var/lib/cni", Change: "came", Ours: true},
		{Kind: baseline.Files, Name: "/opt/theirs", Change: "came"},
		{Kind: baseline.Sysctls, Name: "net/ipv4/ip_forward", Change: "changed", Before: "0", Now: "1", Ours: true},
		{Kind: baseline.Sysctls, Name: "kernel/panic", Change: "changed", Before: "0", Now: "10", Ours: true},
	}
	ours, others := sorted(all, []string{
		"/var/lib/kubelet/mine: a file system is mounted there", "/var/lib/rancher: it holds what is not ours",
		"net.ipv4.ip_forward stays 1: docker0 needs it", "kernel.panic was 0: permission denied", "/var/lib/cnix: no",
	}, false)
	var got []string
	for _, d := range slices.Concat(ours, others) {
		got = append(got, d.String())
	}
	want := []string{"file /var/lib/cni is new", "sysctl kernel/panic was 0, is 10", "file /opt/theirs is new"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAClusterThatStaysIsNotOurs is one that was adopted: what it has made since is its own.
func TestAClusterThatStaysIsNotOurs(t *testing.T) {
	ours, others := sorted([]baseline.Difference{
		{Kind: baseline.Rules, Name: "ip nat KUBE-SVC-X", Change: "came", Ours: true},
		{Kind: baseline.Files, Name: "/etc/pipeops-agent", Change: "came", Ours: true},
	}, nil, true)
	if len(ours) != 1 || ours[0].Name != "/etc/pipeops-agent" || len(others) != 1 {
		t.Errorf("ours %v, others %v", ours, others)
	}
}

// TestNodeOfSomebodyElse: what a kubelet of others has in the places of ours is not taken away with ours.
func TestNodeOfSomebodyElse(t *testing.T) {
	tests := []struct {
		machine string
		refused bool
	}{{"rke2-running", true}, {"kubeadm-running", true}, {"microk8s-running", true}, {"k0s-running", true}, {"kubeadm-debris", false}, {"kind-running", false}, {"debian12-vm", false}}
	for _, tt := range tests {
		facts := host.Collect(t.Context(), options(t, tt.machine).Host)
		err := sharedNode(facts)
		if (err != nil) != tt.refused || err != nil && !reason.Is(err, reason.ClusterForeign) {
			t.Errorf("%s: %v", tt.machine, err)
		}
	}
	ours := host.Facts{Clusters: []host.Cluster{{Name: "k3s", State: host.Running, Ours: host.Is(true)}, {Name: "rke2", State: host.Running}}}
	if err := sharedNode(ours); err != nil { // whose it is could not be seen
		t.Error(err)
	}
}

// FuzzParseUninstallWish wants what is damaged to keep everything.
func FuzzParseUninstallWish(f *testing.F) {
	f.Add([]byte(`{"version":1,"keep_data":true}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := parseUninstallWish(raw)
		if w.Version != 1 || !strings.Contains(string(raw), "1") && !w.KeepData {
			t.Errorf("%q became %+v", raw, w)
		}
	})
}
