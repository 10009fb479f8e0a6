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
		{Agent, "/usr/bin/pipeops-agent", "/usr/local/bin/pipeops-agent", func(b string) ([]byte, error) { return AgentUnit(b) }},
		{Credential, "/usr/bin/pipeops-agent", "/usr/local/bin/pipeops-agent", CredentialUnit},
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

// TestHiddenPaths: what makes an administrator of the cluster is hidden where its k3s really has it.
func TestHiddenPaths(t *testing.T) {
	got, err := AgentUnit("/usr/bin/pipeops-agent", "/data/k3s/server/tls")
	if err != nil || !strings.Contains(string(got), "\nInaccessiblePaths=-/data/k3s/server/tls\n") || !strings.Contains(string(got), "-/etc/rancher/k3s/k3s.yaml") {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := AgentUnit("/usr/bin/pipeops-agent", "/data/my k3s"); err == nil {
		t.Error("a path that needs quoting is taken")
	}
	file, err := os.ReadFile(CredentialPath)
	if err != nil || string(file) != string(CredentialPathUnit()) {
		t.Errorf("%s is not what packages ship: %v", CredentialPath, err)
	}
}
