package host

import (
	"io/fs"
	"testing"
)

func TestUnderCloudInit(t *testing.T) {
	chain := map[string]string{
		"/proc/self/stat":    "900 (pipeops-agent) S 800 900 1 0\n",
		"/proc/800/stat":     "800 (sh (x) y) S 700 1 1\n",
		"/proc/800/cmdline":  "sh\x00/var/lib/cloud/instance/scripts/runcmd\x00",
		"/proc/700/stat":     "700 (cloud-init) S 1 1 1\n",
		"/proc/700/cmdline":  "/usr/bin/python3\x00/usr/bin/cloud-init\x00modules\x00--mode=final\x00",
		"/proc/self/cgroup":  "0::/user.slice/user-0.slice/session-1.scope\n",
		"/proc/1000/stat":    "1000 (pipeops-agent) S 1 1 1\n",
		"/proc/1000/cgroup":  "12:pids:/system.slice/cloud-final.service\n0::/system.slice/cloud-final.service\n",
		"/proc/1001/stat":    "1001 (pipeops-agent) S 801 1 1\n",
		"/proc/1001/cgroup":  "0::/system.slice/pipeops-cloud-init.service\n",
		"/proc/801/stat":     "801 (vi) S 1 1 1\n",
		"/proc/801/cmdline":  "vi\x00-R\x00notes\x00cloud-init\x00",
		"/proc/1002/stat":    "1002 (loop) S 1002 1 1\n",
		"/proc/1002/cmdline": "loop\x00",
	}
	read := func(path string) ([]byte, error) {
		if text, ok := chain[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	for pid, want := range map[string]bool{"self": true, "1000": true, "1001": false, "1002": false, "1003": false} {
		if got := underCloudInit(read, pid); got != want {
			t.Errorf("%s: %v", pid, got)
		}
	}
	if underCloudInit(Live().ReadFile, "self") {
		t.Error("cloud-init runs this test?")
	}
}

func FuzzParseParentID(f *testing.F) {
	f.Add([]byte("900 (pipeops) agent) S 800 900 1 0"), []byte("0::/system.slice/cloud-final.service\n"))
	f.Add([]byte(") S -1"), []byte("1:x:/cloud-init.service/x"))
	f.Fuzz(func(t *testing.T, stat, group []byte) {
		if ParseParentID(stat) < 0 {
			t.Error("a process has no such parent")
		}
		CloudInitCgroup(group)
		isCloudInit(stat)
	})
}
