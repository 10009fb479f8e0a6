package remains

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// mounts are those of containers, of the volumes of pods, and of the network namespaces of pods, by their points. A mount
// elsewhere below the folder of k3s is somebody's own.
func (e Env) mounts() Thing {
	return Thing{
		Kind: "k3s-mounts", Title: "mounts of containers and volumes",
		List: func(context.Context) ([]string, error) {
			all, err := mounttable.Read()
			return points(ofPods(all, e.DataDir)), err
		},
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			var left []string
			for {
				all, err := mounttable.Read()
				if err != nil {
					return nil, err
				}
				ours := slices.DeleteFunc(ofPods(all, e.DataDir), func(m mounttable.Mount) bool { return slices.Contains(before, m.Point) })
				left = left[:0]
				gone := 0
				for _, m := range slices.Backward(ours) { // what lies on another comes after it
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					if err := unmount(m.Point); err != nil {
						left = append(left, fmt.Sprintf("%s: cannot unmount it: %v", m.Point, err))
						continue
					}
					gone++
					if m.Type == "nsfs" {
						_ = os.Remove(m.Point) // the file that the namespace was mounted on
					}
				}
				if gone == 0 { // also of those that lay under others
					return left, nil
				}
			}
		},
	}
}

// ofPods returns the mounts that k3s, its containerd or the kubelet have made.
func ofPods(all []mounttable.Mount, dataDir string) []mounttable.Mount {
	var ours []mounttable.Mount
	for _, m := range all {
		for _, dir := range []string{"/run/k3s/", "/var/run/k3s/", "/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/", dataDir + "/agent/containerd/tmpmounts/"} {
			if strings.HasPrefix(m.Point, dir) {
				ours = append(ours, m)
			}
		}
		if dir, name := filepath.Split(m.Point); m.Type == "nsfs" && (dir == "/run/netns/" || dir == "/var/run/netns/") && strings.HasPrefix(name, "cni-") {
			ours = append(ours, m)
		}
	}
	return ours
}

func points(all []mounttable.Mount) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.Point)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
