package remains

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/mounttable"
)

// maxModules bounds what is read of /proc/modules, in bytes.
const maxModules = 1 << 20

// Sysctls lists the values of the kernel that k3s and its parts change, as "net/ipv4/ip_forward=0".
func Sysctls(e Env) ([]string, error) { return e.listSysctls() }

// Mounts lists the mount points of this machine, but for those that systemd makes for the time of a unit or a login.
func Mounts() ([]string, error) {
	all, err := mounttable.Read()
	return slices.DeleteFunc(points(all), passing), err
}

// passing reports whether systemd mounts something there for as long as a unit has its credentials, or a user is logged in
// (systemd.exec(5), user@.service(5)).
func passing(point string) bool {
	return strings.HasPrefix(point, "/run/credentials/") || strings.HasPrefix(point, "/run/user/")
}

// Modules lists the modules of the kernel that are loaded.
func Modules() ([]string, error) {
	used, err := loaded()
	var all []string
	for name := range used {
		all = append(all, name)
	}
	slices.Sort(all)
	return all, err
}

// loaded returns the modules and whether they are in use; none where the kernel has no modules.
func loaded() (map[string]bool, error) {
	f, err := os.Open("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseModules(io.LimitReader(f, maxModules))
}

// parseModules reads lines of name, size, users and who they are.
func parseModules(r io.Reader) (map[string]bool, error) {
	used := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) >= 3 {
			used[fields[0]] = fields[2] != "0"
		}
	}
	return used, lines.Err()
}
