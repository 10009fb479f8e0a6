package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRuncScript gives the script a runc that shows what it was given.
func TestRuncScript(t *testing.T) {
	const config = `{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE","CAP_KILL"],"effective":["CAP_SYS_RESOURCE"],` +
		`"permitted":["CAP_KILL","CAP_SYS_RESOURCE"]},"oomScoreAdj":-500,"cwd":"/"}}`
	const without = `{"process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_KILL"],"effective":[],` +
		`"permitted":["CAP_KILL"]},"cwd":"/"}}`
	for _, tt := range []struct{ name, bounds, argv, want string }{
		{"without the capability", "000001fffeffffff", "--log /dev/null create --bundle DIR id", without},
		{"with it", "000001ffffffffff", "--log /dev/null create --bundle DIR id", config},
		{"exec without it", "000001fffeffffff", "exec -d --process DIR/config.json id", without},
		{"another command", "000001fffeffffff", "delete DIR", config},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			script := strings.NewReplacer("/usr/sbin/runc", dir+"/runc", "/proc/self/status", dir+"/status").Replace(runcScript)
			argv := strings.ReplaceAll(tt.argv, "DIR", dir)
			for name, text := range map[string]string{
				"script": script, "config.json": config, "status": "Name:\tsh\nCapBnd:\t" + tt.bounds + "\n", "runc": "#!/bin/sh\necho \"$@\"\n",
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "sh", append([]string{dir + "/script"}, strings.Fields(argv)...)...).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != argv {
				t.Errorf("%v: runc was given %q, want %q", err, out, argv)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || string(got) != tt.want {
				t.Errorf("%v: the configuration is\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}
