package remains

import (
	"context"
	"fmt"
	"math"
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
			return points(ofPods(all, e.dataDirs()...)), err
		},
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			failed := map[string]error{} // by point
			for rest := math.MaxInt; ; clear(failed) {
				all, err := mounttable.Read()
				if err != nil {
					return nil, err
				}
				ours := slices.DeleteFunc(ofPods(all, e.dataDirs()...), func(m mounttable.Mount) bool { return slices.Contains(before, m.Point) })
				if len(ours) == 0 {
					return nil, nil
				}
				for _, m := range slices.Backward(ours) { // what lies on another comes after it
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					if err := unmount(m.Point); err != nil {
						failed[m.Point] = err
						continue
					}
					if m.Type == "nsfs" {
						_ = os.Remove(m.Point) // the file that the namespace was mounted on
					}
				}
				if len(ours) >= rest { // also those that lay under others have gone
					return stays(points(ours), failed), nil
				}
				rest = len(ours)
			}
		},
	}
}

// stays says why mounts are still there. One that no name leads to cannot be unmounted either.
func stays(points []string, failed map[string]error) []string {
	var left []string
	for _, point := range points {
		why := "cannot unmount it: something else is mounted over it"
		if err := failed[point]; err != nil {
			why = fmt.Sprintf("cannot unmount it: %v", err)
		}
		left = append(left, point+": "+why)
	}
	return left
}

// ofPods returns the mounts that k3s, its containerd or the kubelet have made.
func ofPods(all []mounttable.Mount, dataDirs ...string) []mounttable.Mount {
	dirs := []string{"/run/k3s/", "/var/run/k3s/", "/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/"}
	for _, dir := range dataDirs {
		dirs = append(dirs, dir+"/agent/containerd/tmpmounts/")
	}
	var ours []mounttable.Mount
	for _, m := range all {
		if slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(m.Point, dir) }) {
			ours = append(ours, m)
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
