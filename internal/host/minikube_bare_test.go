package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestBareMinikube: a node that minikube's driver none has made is minikube's, not kubeadm's, and ours if the ledger says so.
func TestBareMinikube(t *testing.T) {
	ledger := `{"op":"change","id":1,"target":"minikube/minikube"}` + "\n"
	node := map[string]string{
		"/etc/kubernetes/admin.conf": "", "/etc/kubernetes/manifests/kube-apiserver.yaml": "", "/var/lib/kubelet/config.yaml": "", "/lib/systemd/system/kubelet.service": "",
	}
	for name, c := range map[string]struct {
		node, data, unit bool
		ledger           string
		processes        string
		want             Cluster // its name, own name, state, unit and whether it is ours
	}{
		"kubeadm's":              {node: true, processes: `["kubelet"]`, want: Cluster{Name: "kubeadm", State: Running, Unit: "kubelet.service", Ours: Is(false)}},
		"somebody's":             {node: true, data: true, processes: `["kubelet"]`, want: Cluster{Name: "minikube", Cluster: "minikube", State: Running, Unit: "kubelet.service", Ours: Is(false)}},
		"ours":                   {node: true, data: true, unit: true, ledger: ledger, processes: `["kubelet"]`, want: Cluster{Name: "minikube", Cluster: "minikube", State: Running, Unit: ClusterUnit, Ours: Is(true)}},
		"ours, stopped":          {node: true, data: true, unit: true, ledger: ledger, processes: `["init"]`, want: Cluster{Name: "minikube", Cluster: "minikube", State: Stopped, Unit: ClusterUnit, Ours: Is(true)}},
		"ours, begun":            {ledger: ledger, processes: `["init"]`, want: Cluster{Name: "minikube", Cluster: "minikube", State: Unfinished, Ours: Is(true)}},
		"none, another is ours":  {ledger: `{"op":"change","id":1,"target":"minikube/pipeops"}`, processes: `["init"]`},
		"undone, data of theirs": {data: true, ledger: ledger + `{"op":"undone","id":1}`, processes: `["init"]`},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(target, content string) {
				if err := os.MkdirAll(filepath.Dir(root+target), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(root+target, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("/"+SnapshotFile, `{"processes":`+c.processes+`}`)
			if c.node {
				for target := range node {
					write(target, "")
				}
			}
			if c.data {
				write("/var/lib/minikube/certs/ca.crt", "")
			}
			if c.unit {
				write("/etc/systemd/system/"+ClusterUnit, "")
			}
			if c.ledger != "" {
				write(LedgerFile, c.ledger)
			}
			s, err := Load(root)
			if err != nil {
				t.Fatal(err)
			}
			f := Collect(t.Context(), s)
			got := slices.DeleteFunc(f.Clusters, func(c Cluster) bool { return c.Name == "kubeconfig" })
			if c.want.Name == "" {
				if len(got) > 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("%+v", got)
			}
			g := got[0]
			if g.Name != c.want.Name || g.Cluster != c.want.Cluster || g.State != c.want.State || g.Unit != c.want.Unit || g.Ours != c.want.Ours {
				t.Errorf("%+v", g)
			}
		})
	}
}
