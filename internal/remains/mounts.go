package remains

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxMounts bounds what is read of the mount table, in bytes: a node with some hundred pods has 1 MiB.
const maxMounts = 64 << 20

// mount is a line of the mount table.
type mount struct{ point, fs string }

// mounts are those of containers, of the volumes of pods, and of the network namespaces of pods, by their points. A mount
// elsewhere below the folder of k3s is somebody's own.
func (e Env) mounts() Thing {
	return Thing{
		Kind: "k3s-mounts", Title: "mounts of containers and volumes",
		List: func(context.Context) ([]string, error) {
			all, err := readMounts()
			return points(ofPods(all, e.DataDir)), err
		},
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			var left []string
			for {
				all, err := readMounts()
				if err != nil {
					return nil, err
				}
				ours := slices.DeleteFunc(ofPods(all, e.DataDir), func(m mount) bool { return slices.Contains(before, m.point) })
				left = left[:0]
				gone := 0
				for _, m := range slices.Backward(ours) { // what lies on another comes after it
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					if err := unmount(m.point); err != nil {
						left = append(left, fmt.Sprintf("%s: cannot unmount it: %v", m.point, err))
						continue
					}
					gone++
					if m.fs == "nsfs" {
						_ = os.Remove(m.point) // the file that the namespace was mounted on
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
func ofPods(all []mount, dataDir string) []mount {
	var ours []mount
	for _, m := range all {
		for _, dir := range []string{"/run/k3s/", "/var/run/k3s/", "/var/lib/kubelet/pods/", "/var/lib/kubelet/plugins/", dataDir + "/agent/containerd/tmpmounts/"} {
			if strings.HasPrefix(m.point, dir) {
				ours = append(ours, m)
			}
		}
		if dir, name := filepath.Split(m.point); m.fs == "nsfs" && (dir == "/run/netns/" || dir == "/var/run/netns/") && strings.HasPrefix(name, "cni-") {
			ours = append(ours, m)
		}
	}
	return ours
}

func points(all []mount) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.point)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func readMounts() ([]mount, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	defer f.Close()
	return parseMounts(io.LimitReader(f, maxMounts))
}

// parseMounts reads mountinfo (proc_pid_mountinfo(5)). Lines that it does not understand are left out: what is not known is
// not unmounted.
func parseMounts(r io.Reader) ([]mount, error) {
	var all []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		head, tail, found := strings.Cut(lines.Text(), " - ")
		fields, types := strings.Fields(head), strings.Fields(tail)
		if found && len(fields) >= 6 && len(types) >= 1 {
			all = append(all, mount{point: unescape(fields[4]), fs: types[0]})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	return all, nil
}

// unescape undoes the octal escapes of blanks, tabs, newlines and backslashes.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
