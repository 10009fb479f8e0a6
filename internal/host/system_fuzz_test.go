package host

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzClean(f *testing.F) {
	f.Add("a\xffb\x1b[0m")
	f.Add(strings.Repeat("ж", 300))
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if len(got) > maxText || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\x1b") || clean(got) != got {
			t.Errorf("%q became %q", s, got)
		}
		for _, w := range words(s) {
			if w == "" || len(w) > maxText {
				t.Errorf("word %q", w)
			}
		}
	})
}

func FuzzParseSystemVersion(f *testing.F) {
	f.Add([]byte("<plist><dict><key>ProductVersion</key><string>14.5</string></dict></plist>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v := ParseSystemVersion(b); clean(v) != v {
			t.Errorf("version %q", v)
		}
	})
}

func FuzzParseCPULevel(f *testing.F) {
	seed(f, "proc/cpuinfo")
	f.Fuzz(func(t *testing.T, b []byte) {
		level := ParseCPULevel(b)
		if level.OK && (level.Value < 1 || level.Value > 4) {
			t.Errorf("level %d", level.Value)
		}
		if kept := ParseCPULevel(keepCPU(b)); kept != level {
			t.Errorf("%v after redaction, %v before", kept, level)
		}
	})
}

// FuzzParseModules: what a capture keeps of a list says the same as the list.
func FuzzParseModules(f *testing.F) {
	f.Add([]byte("overlay 155648 1 - Live 0x0\n"))
	f.Add([]byte("kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if found, kept := ParseModules(b), ParseModules(keepModules(ParseModules(b), "")); !maps.Equal(found, kept) {
			t.Errorf("%v after redaction, %v before", kept, found)
		}
		if found, kept := ParseModuleFiles(b), ParseModuleFiles(keepModules(ParseModuleFiles(b), ".ko")); !maps.Equal(found, kept) {
			t.Errorf("%v after redaction, %v before", kept, found)
		}
	})
}

func FuzzParseKernelConfig(f *testing.F) {
	f.Add([]byte("CONFIG_OVERLAY_FS=m\n# CONFIG_VXLAN is not set\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, kept := ParseKernelConfig(b), ParseKernelConfig(keepKernelConfig(b))
		for name, v := range found {
			if v != "y" && v != "m" && v != "n" || kept[name] != v {
				t.Errorf("%s=%q, %q after redaction", name, v, kept[name])
			}
		}
		keepConfigGz(b)
	})
}

func FuzzParseFilesystems(f *testing.F) {
	f.Add([]byte("nodev\tsysfs\n\text4\nnodev\tselinuxfs\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(ParseFilesystems(b)); n > 4*maxWords {
			t.Errorf("%d types", n)
		}
	})
}

func FuzzParseSwaps(f *testing.F) {
	f.Add([]byte("Filename Type Size Used Priority\n/dev/zram0 partition 1024 0 100\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if w := ParseSwaps(b); w.Zram.Value && !w.Total.OK {
			t.Errorf("%+v", w)
		}
	})
}

func FuzzParseOpenFiles(f *testing.F) {
	f.Add([]byte("Max open files            1024                 524288               files     \n"))
	f.Fuzz(func(_ *testing.T, b []byte) { ParseOpenFiles(b) })
}

func FuzzParseMisc(f *testing.F) {
	f.Add([]byte("229 fuse\n200 tun\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(ParseMisc(b)); n > 4*maxWords {
			t.Errorf("%d drivers", n)
		}
	})
}

func FuzzParseLocks(f *testing.F) {
	f.Add([]byte("1: POSIX  ADVISORY  WRITE 1234 08:0a:131072 0 EOF\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, l := range ParseLocks(b) {
			if strings.Count(l.device, ":") != 1 {
				t.Errorf("%+v", l)
			}
		}
	})
}

func FuzzParseCloudInit(f *testing.F) {
	f.Add([]byte(`{"v1":{"stage":null,"init":{"finished":1,"errors":["x"]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, kept := ParseCloudStatus(b), ParseCloudStatus(keepCloud(cloudStatus, b)); got != kept {
			t.Errorf("%q after redaction, %q before", kept, got)
		}
		got, _ := ParseCloudResult(b)
		if kept, _ := ParseCloudResult(keepCloud(cloudResult, b)); got != kept {
			t.Errorf("%q after redaction, %q before", kept, got)
		}
	})
}

func FuzzParseCgroupWords(f *testing.F) {
	f.Add([]byte("root=/dev/vda1 cgroup_enable=memory\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := ParseCgroupWords(b)
		if kept := ParseCgroupWords([]byte(strings.Join(all, " "))); !slices.Equal(all, kept) {
			t.Errorf("%q after redaction, %q before", kept, all)
		}
	})
}

func FuzzParseDockerRoot(f *testing.F) {
	f.Add([]byte(`{"data-root":"/srv/docker"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		root := ParseDockerRoot(b)
		less, _ := keep(dockerConfig, b)
		if root != "" && !isDir(root) || ParseDockerRoot(less) != root {
			t.Errorf("root %q, kept %q", root, less)
		}
	})
}

func FuzzParseDevName(f *testing.F) {
	f.Add([]byte("MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if name := ParseDevName(b); clean(name) != name {
			t.Errorf("name %q", name)
		}
	})
}
