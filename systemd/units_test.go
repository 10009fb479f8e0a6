package systemd

import (
	"os"
	"strings"
	"testing"
)

func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		file, packaged, other string
		make                  func(string) ([]byte, error)
	}{
		{Agent, "/usr/bin/pipeops-agent", "/usr/local/bin/pipeops-agent", AgentUnit},
		{Resume, "/usr/bin/pipeops-agent", "/usr/local/bin/pipeops-agent", ResumeUnit},
		{Cluster, "/usr/bin/pipeops-agent", "/usr/local/bin/pipeops-agent", ClusterUnit},
		{Gateway, "/usr/bin/pipeops-gateway", "/usr/local/bin/pipeops-gateway", GatewayUnit},
	} {
		file, err := os.ReadFile(tt.file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tt.make(tt.packaged); err != nil || string(got) != string(file) {
			t.Errorf("%s is not what packages ship: %v", tt.file, err)
		}
		got, err := tt.make(tt.other)
		if err != nil || strings.Count(string(got), "\nExecStart="+tt.other+" ") != 1 || strings.Contains(string(got), "="+tt.packaged) {
			t.Errorf("%s for %s: %v\n%s", tt.file, tt.other, err, got)
		}
		for _, bad := range []string{"", "pipeops-agent", "/opt/my programs/agent", "/opt/%n"} {
			if _, err := tt.make(bad); err == nil {
				t.Errorf("%q is taken", bad)
			}
		}
		if strings.Contains(strings.ToLower(string(file)), "token") {
			t.Errorf("%s speaks of a token", tt.file)
		}
	}
}
