package distro

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

const (
	containerdLog = "/agent/containerd/containerd.log" // below the data directory of k3s
	podLogs       = "/var/log/pods/kube-system_*/*/*.log"
	// maxPodLogs bounds how many logs of pods are read: a cluster of ours has some six pods of its own.
	maxPodLogs = 16
	// maxPodTail bounds what is kept of each, in bytes: a pod that does not start says little.
	maxPodTail = 8 << 10
)

// ReadWords reads what the k3s of this machine said last: its service, its containerd, and the pods of the cluster itself.
// What cannot be read is left out.
func ReadWords(ctx context.Context, f host.Facts) Words {
	in, log, unit := Install{}, "", serverUnit
	for _, c := range f.Clusters {
		if c.Name == K3s && c.Unit == workerUnit {
			unit = workerUnit
		}
	}
	if OpenRC(f) || Supervised(f) {
		log = "/var/log/" + openrcName(unit) + ".log"
	}
	ctx, cancel := context.WithTimeout(ctx, lastWordsTimeout)
	defer cancel()
	return in.around(in.words(ctx, unit, log), K3sData(f))
}

// K3sData is the folder where the k3s of this machine keeps its data.
func K3sData(f host.Facts) string {
	for _, c := range f.Clusters {
		if dir := c.Settings["data-dir"]; c.Name == K3s && dir != "" {
			return dir
		}
	}
	return k3sDataDir
}

// diagnose looks at the machine as it is now.
func (k *k3sInstall) diagnose(ctx context.Context, w Words, judge judge) (Diagnosis, bool) {
	var f host.Facts
	if k.Look != nil {
		f = k.Look(ctx)
	}
	return judge(k.around(w, k.dataDir), f)
}

// around adds what containerd and the pods said.
func (in Install) around(w Words, dataDir string) Words {
	w.Containerd = logTail(in.path(dataDir + containerdLog))
	paths, err := filepath.Glob(in.path(podLogs))
	if err != nil {
		return w
	}
	var pods strings.Builder
	slices.SortFunc(paths, func(a, b string) int { return cmp.Compare(b, a) }) // of each container, the log of its last start first
	for _, path := range paths[:min(len(paths), maxPodLogs)] {
		tail := logTail(path)
		pods.WriteString(strings.ToValidUTF8(tail[max(0, len(tail)-maxPodTail):], "") + "\n")
	}
	w.Pods = pods.String()
	return w
}
