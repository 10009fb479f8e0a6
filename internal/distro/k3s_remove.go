package distro

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

// k3sVolumes is where, below its folder, k3s keeps the volumes of pods that ask for no other.
const k3sVolumes = "storage"

// k3sTrees are the folders that a running k3s fills and nobody else: its kubelet, its containerd and its plugins of CNI. What
// others may use too is among the [remains.All].
func k3sTrees() []string {
	return []string{
		"/etc/rancher/node",
		"/var/lib/kubelet",
		"/var/lib/cni/networks/cbr0", "/var/lib/cni/flannel",
		"/var/log/pods", "/var/log/containers",
		"/run/k3s", "/run/flannel", "/run/containerd/runc/k8s.io",
	}
}

// k3sPrepared are folders below that of k3s which people fill before its first start, and so do we: what is in them by then
// stays what it was, while k3s's own files come beside it.
func k3sPrepared() []string {
	return []string{
		"agent", "agent/images", "agent/etc", "agent/etc/containerd", "agent/pod-manifests",
		k3sVolumes, // of an earlier install, that were kept
		"server", "server/manifests", "server/tls", "server/tls/etcd", "server/static",
	}
}

// remains is where what k3s leaves is looked for.
func (in Install) remains(dataDir string) remains.Env {
	e := remains.Env{Root: in.Root, DataDir: dataDir, Run: in.Run}
	if dataDir == minikubeNoneData {
		e.Bridge = minikubeNoneBridge
	}
	if !in.OpenRC && !in.Supervised && in.Units != nil {
		e.Stop = in.Units.Stop
	}
	return e
}

// makes records what k3s will make once it runs.
func (k *k3sInstall) makes(ctx context.Context, r *plan.Recorder) error {
	return k.expect(ctx, r, k.dataDir, k.trees())
}

// expect records what a node that keeps its data in dataDir will make, with the folders that only it fills. An undo takes it away
// in the opposite order, after the node was stopped: first what lives, last the folders, whose programs it may need until then.
func (in Install) expect(ctx context.Context, r *plan.Recorder, dataDir string, trees []string) error {
	things := remains.All(in.remains(dataDir))
	late := []string{"k3s-modules", "k3s-folders"} // are undone after the folders
	record := func(of func(kind string) bool) error {
		for _, thing := range slices.Backward(things) {
			if !of(thing.Kind) {
				continue
			}
			before, err := thing.List(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // where it cannot be told what is whose, nothing of it is removed later
				continue
			}
			if err := r.Expect(plan.Kind(thing.Kind), dataDir, before); err != nil {
				return err
			}
		}
		return nil
	}
	if err := record(func(kind string) bool { return slices.Contains(late, kind) }); err != nil {
		return err
	}
	for _, dir := range trees {
		if err := r.Own(dir); err != nil {
			return err
		}
	}
	return record(func(kind string) bool { return !slices.Contains(late, kind) })
}

// trees lists the folders that k3s fills, those above first.
func (k *k3sInstall) trees() []string {
	all := []string{k.dataDir}
	for _, name := range k3sPrepared() {
		dir := filepath.Join(k.dataDir, name)
		if st, err := os.Stat(k.path(dir)); err == nil && st.IsDir() {
			all = append(all, dir)
		}
	}
	return append(all, k3sTrees()...)
}

// Volumes returns the folder of the volumes of the cluster that the changes have installed, "" if they have none.
func Volumes(changes []plan.Record) string {
	for _, c := range changes { // the first of them is undone last, after the folders
		if c.Kind == "k3s-folders" && c.Target == minikubeNoneData {
			return minikubeNoneVolumes
		}
		if c.Kind == "k3s-folders" {
			return filepath.Join(c.Target, k3sVolumes)
		}
	}
	return ""
}
