// Package systemd holds the unit files: what packages ship and what `pipeops-agent install` writes is the same file.
package systemd

import (
	"bytes"
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
)

// Names of the units.
const (
	Agent          = "pipeops-agent.service"
	Resume         = "pipeops-agent-resume.service"
	Cluster        = "pipeops-agent-cluster.service"
	Credential     = "pipeops-agent-credential.service"
	CredentialPath = "pipeops-agent-credential.path"
	Gateway        = "pipeops-gateway.service"
)

//go:embed pipeops-agent.service
var agent string

//go:embed pipeops-agent-resume.service
var resume string

//go:embed pipeops-agent-cluster.service
var cluster string

//go:embed pipeops-agent-credential.service
var credential string

//go:embed pipeops-agent-credential.path
var credentialPath string

//go:embed pipeops-gateway.service
var gateway string

// AgentUnit returns the agent's unit for a binary at the given path; packages have it at /usr/bin/pipeops-agent. Further paths are
// hidden from the agent: where a k3s that keeps its data elsewhere has its keys.
func AgentUnit(binary string, hidden ...string) ([]byte, error) {
	content, err := unit(agent, "/usr/bin/pipeops-agent", binary)
	for _, path := range hidden {
		if !plain(path) {
			return nil, fmt.Errorf("cannot hide %q in a unit: not a plain absolute path", path)
		}
		content = bytes.Replace(content, []byte("\nInaccessiblePaths="), []byte("\nInaccessiblePaths=-"+path+"\nInaccessiblePaths="), 1)
	}
	return content, err
}

// CredentialUnit returns the unit that makes a credential for the agent, for a binary at the given path, likewise.
func CredentialUnit(binary string) ([]byte, error) {
	return unit(credential, "/usr/bin/pipeops-agent", binary)
}

// CredentialPathUnit returns the unit that starts it when the agent asks.
func CredentialPathUnit() []byte { return []byte(credentialPath) }

// ResumeUnit returns the unit that goes on with an interrupted install, for a binary at the given path, likewise.
func ResumeUnit(binary string) ([]byte, error) { return unit(resume, "/usr/bin/pipeops-agent", binary) }

// ClusterUnit returns the unit that starts a cluster whose nodes are containers, for a binary at the given path. No package has it:
// it is there where such a cluster is.
func ClusterUnit(binary string) ([]byte, error) {
	content, err := unit(cluster, "/usr/bin/pipeops-agent", binary)
	return bytes.Replace(content, []byte("ExecStop=/usr/bin/pipeops-agent "), []byte("ExecStop="+binary+" "), 1), err
}

// GatewayUnit returns the gateway's unit for a binary at the given path; packages have it at /usr/bin/pipeops-gateway.
func GatewayUnit(binary string) ([]byte, error) {
	return unit(gateway, "/usr/bin/pipeops-gateway", binary)
}

// unit refuses paths that would need quoting in a unit file.
func unit(text, packaged, binary string) ([]byte, error) {
	if !plain(binary) {
		return nil, fmt.Errorf("cannot make a unit for %q: not a plain absolute path", binary)
	}
	return bytes.Replace([]byte(text), []byte("ExecStart="+packaged+" "), []byte("ExecStart="+binary+" "), 1), nil
}

func plain(path string) bool {
	return filepath.IsAbs(path) && !strings.ContainsAny(path, " \t\n\"'\\%$;")
}
