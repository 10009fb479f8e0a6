//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// touched lists what trials touch: control groups, links, mounts, namespaces, rules, modules, settings and files.
const touched = `find /sys/fs/cgroup -type d | sort
ip -brief link; ip -brief address; ip netns list; ip route
cat /proc/1/mountinfo
for kind in net mnt; do readlink /proc/[0-9]*/ns/$kind; done | sort -u | wc -l
nft list ruleset; iptables-save | grep -v '^#' || true
cut -d ' ' -f 1 /proc/modules 2>/dev/null | sort
sysctl -a 2>/dev/null | grep -E '^(kernel.panic|vm.overcommit|net.ipv4.(ip_forward|conf)|net.bridge|fs.inotify)'
cat /proc/1/oom_score_adj
find / -xdev -path /proc -prune -o -path /sys -prune -o -path /tmp -prune -o -path /var/log -prune -o -print | sort`

// TestTrialsLeaveNothing runs the trials in a machine, and in one that has only the rights of a container. All must come to
// an end in time, and whatever they found, the machine must be as it was.
func TestTrialsLeaveNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the tests in machines need root: sudo make e2e")
	}
	l, err := lab.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		options lab.Options
		allowed map[string]bool // trials whose outcome is known of every host of the lab
	}{
		{"e2e-trial-vm", lab.Options{}, map[string]bool{
			trial.Kmsg: true, trial.SysctlWrite: true, trial.CgroupCreate: true, trial.Overlay: true, trial.Netns: true, trial.Fsync: true,
		}},
		{"e2e-trial-container", lab.Options{Container: true}, map[string]bool{trial.SysctlWrite: false, trial.CgroupCreate: false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := l.Up(t.Context(), tt.name, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if err := m.Down(ctx); err != nil {
					t.Error(err)
				}
			})
			program := filepath.Join(rig.Dist, "pipeops-agent-linux-"+rig.Arch())
			if err := m.Push(t.Context(), program, "/usr/local/bin/pipeops-agent"); err != nil {
				t.Fatal(err)
			}
			shell(t, m, touched) // what looking itself makes the kernel make, such as the tables of iptables
			before := shell(t, m, touched)
			began := time.Now()
			result, err := m.Exec(t.Context(), nil, "pipeops-agent", "probe", "--trials", "-o", "json")
			took := time.Since(began)
			if err == nil {
				err = result.OK()
			}
			if err != nil {
				t.Fatal(err)
			}
			if took > trial.Timeout {
				t.Errorf("took %s", took)
			}
			if after := shell(t, m, touched); after != before {
				t.Errorf("something is left:\n%s", difference(before, after))
			}
			checkTrials(t, result.Stdout, tt.allowed)
		})
	}
}

func checkTrials(t *testing.T, document string, allowed map[string]bool) {
	t.Helper()
	var report struct {
		Trials map[string]host.TrialResult `json:"trials"`
	}
	if err := json.Unmarshal([]byte(document), &report); err != nil {
		t.Fatal(err)
	}
	for _, tr := range trial.All() {
		r, ok := report.Trials[tr.Name]
		if !ok {
			t.Errorf("%s was not run", tr.Name)
		}
		t.Logf("%s: %v %v %s", tr.Name, r.OK, r.Value, r.Detail)
		if want, known := allowed[tr.Name]; known && r.OK != host.Is(want) {
			t.Errorf("%s: got %v, want %v: %s", tr.Name, r.OK, want, r.Detail)
		}
		if !r.OK.OK {
			t.Errorf("%s could not be tried: %s", tr.Name, r.Detail)
		}
	}
}
