package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// machine writes a captured machine of a few files. A content that starts with "-> " makes a link.
func machine(t *testing.T, files map[string]string) Facts {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, dir, path, content)
	}
	return Collect(t.Context(), load(t, dir))
}

func TestOSOfMachines(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  OS
	}{
		{"macOS by its file", map[string]string{
			"System/Library/CoreServices/SystemVersion.plist": "<plist><dict><key>ProductVersion</key><string>14.5</string></dict></plist>",
		}, OS{Kind: "darwin", ID: "macos", Version: "14.5", Name: "macOS 14.5", Family: "darwin"}},
		{"macOS by its kernel", map[string]string{
			SnapshotFile: `{"uname":{"machine":"arm64","release":"23.5.0"}}`,
		}, OS{Kind: "darwin", ID: "macos", Name: "macOS", Family: "darwin"}},
		{"a Mac's file on Linux", map[string]string{
			"System/Library/CoreServices/SystemVersion.plist": "<plist/>",
			SnapshotFile:     `{"uname":{"sysname":"Linux","machine":"aarch64","release":"6.1.0"}}`,
			"etc/os-release": "ID=debian\n",
		}, OS{Kind: "linux", ID: "debian", Family: "debian"}},
		{"an Alpine that lies", map[string]string{
			"etc/os-release": "ID=debian\n", "etc/alpine-release": "3.20.0\n",
		}, OS{Kind: "linux", ID: "debian", Family: "debian", Doubt: "/etc/alpine-release is there"}},
		{"no os-release", map[string]string{
			"etc/redhat-release": "CentOS release 6.10 (Final)\n",
		}, OS{Kind: "linux", Family: "rhel"}},
		{"an empty one, and a link to the other", map[string]string{
			"etc/os-release": "", "usr/lib/os-release": "-> ../../opt/os-release", "opt/os-release": "ID=void\n",
		}, OS{Kind: "linux", ID: "void", Family: "void"}},
		{"a link to itself", map[string]string{
			"etc/os-release": "-> os-release", "usr/lib/os-release": "ID=arch\n",
		}, OS{Kind: "linux", ID: "arch", Family: "arch"}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).OS); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestHardwareOfMachines(t *testing.T) {
	const dmi, power = "sys/class/dmi/id/", "sys/class/power_supply/"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Hardware
	}{
		{"files of no bytes", map[string]string{dmi + "sys_vendor": "", dmi + "product_name": "", dmi + "board_vendor": "", dmi + "chassis_asset_tag": ""}, Hardware{}},
		{"Oracle's cloud", map[string]string{dmi + "chassis_asset_tag": "OracleCloud.com\n", dmi + "board_vendor": "Oracle Corporation\n"},
			Hardware{Board: "Oracle Corporation", AssetTag: "OracleCloud.com"}},
		{"a tag of one machine", map[string]string{dmi + "chassis_asset_tag": "CZ12345\n"}, Hardware{}},
		{"laptop", map[string]string{power + "AC/type": "Mains\n", power + "BAT0/type": "Battery\n"}, Hardware{Portable: Is(true)}},
		{"mouse", map[string]string{power + "hidpp_battery_0/type": "Battery\n", power + "hidpp_battery_0/scope": "Device\n"}, Hardware{Portable: Is(false)}},
		{"uninterruptible supply", map[string]string{power + "ups/type": "UPS\n"}, Hardware{Portable: Is(false)}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).Hardware); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestModulesOfMachines(t *testing.T) {
	const snap = `{"uname":{"release":"6.1.0-28-amd64"}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Modules
	}{
		{"nothing known", map[string]string{SnapshotFile: snap}, Modules{}},
		{"kernel upgraded without reboot", map[string]string{
			SnapshotFile:                             `{"uname":{"release":"6.1.0-28-amd64"},"absent":["/lib/modules/6.1.0-28-amd64","/usr/lib/modules/6.1.0-28-amd64"]}`,
			"lib/modules/6.1.0-29-amd64/modules.dep": "kernel/net/bridge/br_netfilter.ko:\n",
			"proc/modules":                           "overlay 1 0 - Live 0x0\n",
		}, Modules{Present: Is(false), States: map[string]string{"overlay": "loaded"}}},
		{"all of them", map[string]string{
			SnapshotFile: snap,
			"usr/lib/modules/6.1.0-28-amd64/modules.dep":     "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\nkernel/drivers/net/vxlan/vxlan.ko.xz:\n",
			"usr/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/fs/overlayfs/overlay.ko\n",
			"proc/modules":                      "nf_tables 1 0 - Live 0x0\n",
			"sys/module/nf_conntrack/initstate": "live\n",
			"sys/module/ip_tables/parameters/x": "1\n",
		}, Modules{Present: Is(true), States: map[string]string{
			"overlay": "builtin", "br_netfilter": "loadable", "nf_conntrack": "loaded", "vxlan": "loadable", "ip_tables": "builtin", "nf_tables": "loaded",
			"nft_compat": "missing", "xt_comment": "missing", "xt_MASQUERADE": "missing", "iptable_nat": "missing", "wireguard": "missing",
		}}},
		{"a release that leaves the folder", map[string]string{
			SnapshotFile: `{"uname":{"release":"../../etc"}}`, "etc/modules.dep": "overlay.ko:\n", "lib/modules/x": "",
		}, Modules{}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).Modules); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestLSMOfMachines(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  LSM
	}{
		{"Debian", map[string]string{"sys/kernel/security/lsm": "lockdown,capability,landlock,yama,apparmor", "sys/module/apparmor/parameters/enabled": "Y\n"},
			LSM{Active: []string{"lockdown", "capability", "landlock", "yama", "apparmor"}, AppArmor: Is(true), SELinux: "disabled"}},
		{"Rocky", map[string]string{"sys/kernel/security/lsm": "capability,selinux", "sys/fs/selinux/enforce": "1"},
			LSM{Active: []string{"capability", "selinux"}, AppArmor: Is(false), SELinux: "enforcing"}},
		{"a container on it, which is not shown the file", map[string]string{"proc/filesystems": "nodev\tselinuxfs\n\text4\n"}, LSM{}},
		{"a container elsewhere", map[string]string{"proc/filesystems": "nodev\tsysfs\n\text4\n"}, LSM{SELinux: "disabled"}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).LSM); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestSwapControllerOfMachines(t *testing.T) {
	const v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	const v2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Known[bool]
	}{
		{"v2", map[string]string{"proc/self/mountinfo": v2, "sys/fs/cgroup/system.slice/memory.max": "max", "sys/fs/cgroup/system.slice/memory.swap.max": "max"}, Is(true)},
		{"v2 without", map[string]string{"proc/self/mountinfo": v2, "sys/fs/cgroup/system.slice/memory.max": "max"}, Is(false)},
		{"v2 without memory", map[string]string{"proc/self/mountinfo": v2}, Known[bool]{}},
		{"v1", map[string]string{"proc/self/mountinfo": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "1", "sys/fs/cgroup/memory/memory.memsw.limit_in_bytes": "1"}, Is(true)},
		{"v1 without swapaccount", map[string]string{"proc/self/mountinfo": v1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "1"}, Is(false)},
	} {
		if got := machine(t, c.files).Swap.Controller; got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRootsOfMachines(t *testing.T) {
	const coreos = "1 0 8:4 / / ro - xfs /dev/vda4 rw\n2 1 8:4 / /usr ro - xfs /dev/vda4 rw\n3 1 8:4 / /etc rw - xfs /dev/vda4 rw\n4 1 8:4 / /var rw - xfs /dev/vda4 rw\n"
	for _, c := range []struct {
		name, immutable, manager, writable string
		files                              map[string]string
	}{
		{"Fedora CoreOS, whose /usr/local is in /var", "ostree", "rpm-ostree", "/usr/local/bin /etc /etc/systemd/system /var", map[string]string{
			"proc/self/mountinfo": coreos, "usr/local": "-> ../var/usrlocal", "opt": "-> /var/opt/../../usr/x", "run/ostree-booted": "",
			SnapshotFile: `{"commands":{"rpm-ostree":"/usr/bin/rpm-ostree"}}`,
		}},
		{"the same by its snapshot", "ostree", "", "/usr/local/bin /opt/bin /etc /etc/systemd/system /var", map[string]string{
			"proc/self/mountinfo": coreos, "etc/os-release": "ID=fedora\nOSTREE_VERSION=40\n",
			SnapshotFile: `{"resolved":{"/usr/local/bin":"/var/usrlocal/bin","/opt/bin":"/var/opt/bin"}}`,
		}},
		{"NixOS", "nix", "", "/ /usr /usr/local/bin /opt/bin /etc /var", map[string]string{
			"proc/self/mountinfo": "1 0 8:4 / / rw - ext4 /dev/vda4 rw\n", "etc/NIXOS": "", "etc/systemd/system": "-> /etc/static/systemd/system",
			"etc/static": "-> /nix/store/abc-etc",
		}},
		{"MicroOS", "transactional", "transactional-update", "/etc /etc/systemd/system /var", map[string]string{
			"proc/self/mountinfo": "1 0 0:30 / / ro - btrfs /dev/vda3 rw\n2 1 0:31 / /etc rw - overlay overlay rw\n3 1 0:30 / /var rw - btrfs /dev/vda3 rw\n",
			"etc/os-release":      "ID=opensuse-microos\nID_LIKE=\"suse opensuse\"\n", SnapshotFile: `{"commands":{"transactional-update":"/sbin/transactional-update","zypper":"/usr/bin/zypper"}}`,
		}},
		{"Tumbleweed with the tool", "", "zypper", "/ /usr /usr/local/bin /opt/bin /etc /etc/systemd/system /var", map[string]string{
			"proc/self/mountinfo": "1 0 0:30 / / rw - btrfs /dev/vda3 rw\n",
			"etc/os-release":      "ID=opensuse-tumbleweed\n", SnapshotFile: `{"commands":{"transactional-update":"/sbin/transactional-update","zypper":"/usr/bin/zypper"}}`,
		}},
		{"Flatcar", "flatcar", "none", "/ /opt/bin /etc /etc/systemd/system /var", map[string]string{
			"proc/self/mountinfo": "1 0 8:9 / / rw - ext4 /dev/vda9 rw\n2 1 254:0 / /usr ro - ext4 /dev/mapper/usr ro\n", "etc/os-release": "ID=flatcar\nID_LIKE=coreos\n",
		}},
	} {
		f := machine(t, c.files)
		var writable []string
		for _, dir := range []string{"/", "/usr", "/usr/local/bin", "/opt/bin", "/etc", "/etc/systemd/system", "/var"} {
			if ro, ok := f.Roots.ReadOnly[dir]; ok && !ro {
				writable = append(writable, dir)
			}
		}
		if got := strings.Join(writable, " "); got != c.writable || f.Roots.Immutable != c.immutable || f.Packages.Manager != c.manager {
			t.Errorf("%s: %q, %q, writable %q", c.name, f.Roots.Immutable, f.Packages.Manager, got)
		}
	}
}

func TestDisksOfMachines(t *testing.T) {
	const mounts = "27 1 %s / / rw - ext4 %s rw\n"
	for _, c := range []struct {
		name, number, source string
		files                map[string]string
		want                 Disk
	}{
		{"partition of a disk", "8:1", "/dev/sda1", map[string]string{
			"sys/dev/block/8:1/uevent": "DEVNAME=sda1\n", "sys/block/sda/sda1/partition": "1\n", "sys/block/sda/queue/rotational": "1\n", "sys/block/sda/removable": "0\n",
		}, Disk{Device: "/dev/sda1", Rotational: Is(true), Removable: Is(false)}},
		{"the same in a virtual machine", "8:1", "/dev/sda1", map[string]string{
			"sys/dev/block/8:1/uevent": "DEVNAME=sda1\n", "sys/block/sda/sda1/partition": "1\n", "sys/block/sda/queue/rotational": "1\n", "proc/cpuinfo": "flags : hypervisor\n",
		}, Disk{Device: "/dev/sda1"}},
		{"card of a Raspberry Pi", "179:2", "/dev/root", map[string]string{
			"sys/dev/block/179:2/uevent": "DEVNAME=mmcblk0p2\n", "sys/block/mmcblk0/mmcblk0p2/partition": "2\n", "sys/block/mmcblk0/queue/rotational": "0\n",
			"sys/block/mmcblk0/removable": "0\n", "sys/block/mmcblk0/device/type": "SD\n",
		}, Disk{Device: "/dev/mmcblk0p2", Rotational: Is(false), Removable: Is(true)}},
		{"logical volume", "253:0", "/dev/mapper/vg-root", map[string]string{
			"sys/dev/block/253:0/uevent": "DEVNAME=dm-0\n", "sys/block/dm-0/queue/rotational": "0\n", "sys/block/dm-0/removable": "0\n",
		}, Disk{Device: "/dev/mapper/vg-root", Rotational: Is(false), Removable: Is(false)}},
		{"btrfs, whose number is none of a device", "0:30", "/dev/nvme0n1p2", map[string]string{
			"sys/block/nvme0n1/nvme0n1p2/partition": "2\n", "sys/block/nvme0n1/queue/rotational": "0\n", "sys/block/nvme0n1/removable": "0\n",
		}, Disk{Device: "/dev/nvme0n1p2", Rotational: Is(false), Removable: Is(false)}},
		{"network", "0:50", "nas:/export", nil, Disk{}},
		{"number that leaves the folder", "../../../etc", "/dev/../etc", map[string]string{"etc/uevent": "DEVNAME=x\n", "sys/block/x/removable": "1\n"}, Disk{Device: "/dev/../etc"}},
	} {
		files := map[string]string{"proc/self/mountinfo": strings.NewReplacer("%s /", c.number+" /", "- ext4 %s", "- ext4 "+c.source).Replace(mounts)}
		for path, content := range c.files {
			files[path] = content
		}
		d, _ := machine(t, files).DiskOf(ClusterDir)
		if got := (Disk{Device: d.Device, Rotational: d.Rotational, Removable: d.Removable}); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestDockerRootIsMeasured(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"by the engine":      {SnapshotFile: `{"docker":{"root":"/srv/docker"},"statfs":{"/srv":{"free_bytes":7}}}`},
		"by its settings":    {SnapshotFile: `{"statfs":{"/srv":{"free_bytes":7}}}`, "etc/docker/daemon.json": `{"data-root":"/srv/docker"}`},
		"where it always is": {SnapshotFile: `{"statfs":{"/var/lib/docker":{"free_bytes":7}}}`, "var/lib/docker/.captured": ""},
	} {
		f := machine(t, files)
		if len(f.Disk) != 4 || f.Disk[3].Free != Is[uint64](7) {
			t.Errorf("%s: %+v", name, f.Disk)
		}
	}
}

func TestPackagesOfMachines(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Packages
	}{
		{"apt beside dnf", map[string]string{"etc/os-release": "ID=ubuntu\n", SnapshotFile: `{"commands":{"apt-get":"/usr/bin/apt-get","dnf":"/usr/bin/dnf"}}`}, Packages{Manager: "apt"}},
		{"yum alone", map[string]string{"etc/os-release": "ID=centos\n", SnapshotFile: `{"commands":{"yum":"/usr/bin/yum"}}`}, Packages{Manager: "yum"}},
		{"a family that we do not know", map[string]string{"etc/os-release": "ID=acme\n", SnapshotFile: `{"commands":{"dnf":"/usr/bin/dnf","yum":"/usr/bin/yum"}}`}, Packages{Manager: "dnf"}},
		{"two, and no family", map[string]string{SnapshotFile: `{"commands":{"dnf":"/usr/bin/dnf","apt-get":"/usr/bin/apt-get"}}`}, Packages{}},
		{"at work", map[string]string{SnapshotFile: `{"packages":{"manager":"apt","busy":true,"busy_by":"unattended-upgr"}}`}, Packages{Manager: "apt", Busy: Is(true), BusyBy: "unattended-upgr"}},
		{"first boot", map[string]string{"run/cloud-init/status.json": `{"v1":{"stage":"modules-final"}}`}, Packages{CloudInit: "running"}},
		{"first boot over", map[string]string{"run/cloud-init/status.json": `{"v1":{"stage":null}}`, "run/cloud-init/result.json": `{"v1":{"errors":[]}}`}, Packages{CloudInit: "done"}},
		{"over, says another file", map[string]string{"var/lib/cloud/instance/boot-finished": "1 2"}, Packages{CloudInit: "done"}},
		{"off", map[string]string{"etc/cloud/cloud-init.disabled": ""}, Packages{CloudInit: "disabled"}},
		{"none", map[string]string{SnapshotFile: `{"absent":["/run/cloud-init","/usr/bin/cloud-init"]}`}, Packages{CloudInit: "absent"}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).Packages); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestNumbersOfMachines(t *testing.T) {
	f := machine(t, map[string]string{
		"proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "proc/1/cgroup": "0::/init.scope\n",
		"proc/sys/kernel/keys/root_maxkeys": "200\n", "proc/sys/kernel/keys/root_maxbytes": "many\n",
		"proc/sys/fs/inotify/max_user_instances": "128\n", "proc/sys/fs/inotify/max_user_watches": "-1\n",
		"proc/sys/kernel/pid_max": "4194304\n", "proc/sys/kernel/threads-max": "-7\n",
		"sys/fs/cgroup/init.scope/pids.max": "max\n", "sys/fs/cgroup/pids.max": "512\n",
		"proc/sys/vm/overcommit_memory": "1\n", "proc/sys/net/ipv4/ip_forward": "",
		SnapshotFile: `{"numbers":{"inotify_used":17},"sysctl_writable":{"vm.overcommit_memory":false,"kernel.unknown":true},"entropy":{"ready":false},"clock":{"year":1970,"service":"chronyd"}}`,
	})
	for _, c := range []struct {
		name      string
		want, got any
	}{
		{"keyring", Keyring{MaxKeys: Is[int64](200)}, f.Keyring},
		{"inotify", Inotify{MaxInstances: Is[int64](128), MaxWatches: Is[int64](-1), UsedInstances: Is[int64](17)}, f.Inotify},
		{"limits", Limits{PIDMax: Is[uint64](4194304), PIDsLimit: Is[uint64](512)}, f.Limits},
		{"sysctl", Sysctl{Values: map[string]string{"vm.overcommit_memory": "1", "kernel.keys.root_maxkeys": "200"}, Writable: map[string]bool{"vm.overcommit_memory": false}}, f.Sysctl},
		{"entropy", Entropy{Ready: Is(false)}, f.Entropy},
		{"clock", Clock{Year: Is(1970), Service: "chronyd"}, f.Clock},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestBootOfMachines(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Boot
	}{
		{"asked for", map[string]string{"etc/os-release": "ID=ubuntu\n", "run/reboot-required": "x"}, Boot{RebootNeeded: Is(true)}},
		{"not asked for", map[string]string{"etc/os-release": "ID=debian\n", "proc/cmdline": "quiet\n",
			SnapshotFile: `{"absent":["/run/reboot-required","/var/run/reboot-required","/run/reboot-needed"]}`}, Boot{Cgroup: []string{}, RebootNeeded: Is(false)}},
		{"nobody would ask", map[string]string{"etc/os-release": "ID=rocky\n",
			SnapshotFile: `{"absent":["/run/reboot-required","/var/run/reboot-required","/run/reboot-needed"]}`}, Boot{}},
		{"not looked for", map[string]string{"etc/os-release": "ID=debian\n"}, Boot{}},
	} {
		if diff := cmp.Diff(c.want, machine(t, c.files).Boot); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}
