package wire

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
)

func joinAnswer() JoinAnswer {
	return JoinAnswer{
		Servers:    []string{"https://10.0.0.1:6443", "https://[fd00::1]:6443", "https://one.example.com:6443"},
		K3sVersion: "v1.33.2+k3s1",
		Settings:   map[string][]string{"cluster-cidr": {"10.42.0.0/16"}, "disable": {"traefik", "servicelb"}, "secrets-encryption": {"true"}},
		Sealed:     base64.StdEncoding.EncodeToString([]byte("sealed for the machine")),
	}
}

func sealKey() string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", sealKeySize)))
}

func joinRequest() JoinRequest {
	return JoinRequest{
		Version: Version, Token: "pjt_...", CSR: "-----BEGIN CERTIFICATE REQUEST-----\n...", NodeName: "two", Role: RoleServer, SealKey: sealKey(),
		Arch: "amd64", K3sVersions: []string{"v1.33.2+k3s1", "v1.33.0-rc1+k3s1"}, Agent: "v0.5.0",
	}
}

// TestJoinBytes keeps what agents and gateways that are not updated at the same time say to each other.
func TestJoinBytes(t *testing.T) {
	request := joinRequest()
	var text strings.Builder
	for _, d := range []any{
		request,
		AgentJoinRequest{Version: Version, Machine: "0123456789abcdef", Role: RoleServer, NodeName: "two", SealKey: sealKey(), K3sVersions: request.K3sVersions, Again: true},
		AgentJoinResponse{joinAnswer()},
		JoinResponse{
			Certificate: "-----BEGIN CERTIFICATE-----\n...", CA: "-----BEGIN CERTIFICATE-----\n...", Cluster: "shop", ClusterID: "097568c539b6e9a5",
			Machine: "0123456789abcdef", Role: RoleServer, JoinAnswer: joinAnswer(),
		},
	} {
		raw, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(raw, '\n'))
	}
	golden.Check(t, "testdata/join.json", text.String())
}

func TestNodeTokenIsNoJoinToken(t *testing.T) {
	ca := []byte("a CA in DER")
	node, join := NewNodeToken(ca), NewToken(ca)
	if got, err := ParseNodeToken(node.Reveal() + "\n"); err != nil || got != node || !strings.HasPrefix(node.Reveal(), "pjt_") {
		t.Errorf("a node token does not survive: %v", err)
	}
	if _, err := ParseToken(node.Reveal()); err != ErrToken {
		t.Errorf("a node token enrols: %v", err)
	}
	if _, err := ParseNodeToken(join.Reveal()); err != ErrNodeToken {
		t.Errorf("a join token lets a node join: %v", err)
	}
	if strings.Contains(node.String(), node.Secret) || !strings.HasPrefix(node.String(), "pjt_") {
		t.Errorf("%s", node)
	}
}

func TestJoinRequestValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*JoinRequest)
		want string
	}{
		{"good", func(*JoinRequest) {}, ""},
		{"any version", func(r *JoinRequest) { r.K3sVersions = nil }, ""},
		{"dotted name", func(r *JoinRequest) { r.NodeName = "two.example" }, ""},
		{"no name", func(r *JoinRequest) { r.NodeName = "" }, "node_name"},
		{"capital", func(r *JoinRequest) { r.NodeName = "Two" }, "node_name"},
		{"path", func(r *JoinRequest) { r.NodeName = "../two" }, "node_name"},
		{"empty part", func(r *JoinRequest) { r.NodeName = "two..x" }, "node_name"},
		{"long name", func(r *JoinRequest) { r.NodeName = strings.Repeat("a", 64) }, "node_name"},
		{"role", func(r *JoinRequest) { r.Role = "master" }, "role"},
		{"no role", func(r *JoinRequest) { r.Role = "" }, ""},
		{"no key", func(r *JoinRequest) { r.SealKey = "" }, "seal_key"},
		{"short key", func(r *JoinRequest) { r.SealKey = "AAAA" }, "seal_key"},
		{"no base64", func(r *JoinRequest) { r.SealKey = "!" + r.SealKey[1:] }, "seal_key"},
		{"no arch", func(r *JoinRequest) { r.Arch = "" }, "arch"},
		{"arch", func(r *JoinRequest) { r.Arch = "amd64\n" }, "arch"},
		{"version", func(r *JoinRequest) { r.K3sVersions = []string{"latest"} }, "k3s_versions"},
		{"many versions", func(r *JoinRequest) { r.K3sVersions = make([]string, 65) }, "k3s_versions"},
		{"agent", func(r *JoinRequest) { r.Agent = strings.Repeat("v", 65) }, "agent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := joinRequest()
			tt.edit(&r)
			err := r.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAgentJoinRequestValidate(t *testing.T) {
	good := AgentJoinRequest{Version: 1, Machine: "0123456789abcdef", Role: RoleWorker, NodeName: "two", SealKey: sealKey()}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, edit := range map[string]func(*AgentJoinRequest){
		"role":      func(r *AgentJoinRequest) { r.Role = "master" },
		"machine":   func(r *AgentJoinRequest) { r.Machine = "x" },
		"node_name": func(r *AgentJoinRequest) { r.NodeName = "-" },
	} {
		r := good
		edit(&r)
		if err := r.Validate(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJoinAnswerValidate(t *testing.T) {
	tests := []struct {
		name string
		edit func(*JoinAnswer)
		want string
	}{
		{"good", func(*JoinAnswer) {}, ""},
		{"no settings", func(a *JoinAnswer) { a.Settings = nil }, ""},
		{"no server", func(a *JoinAnswer) { a.Servers = nil }, "servers"},
		{"many servers", func(a *JoinAnswer) { a.Servers = make([]string, 17) }, "servers"},
		{"http", func(a *JoinAnswer) { a.Servers[0] = "http://10.0.0.1:6443" }, "servers"},
		{"no port", func(a *JoinAnswer) { a.Servers[0] = "https://10.0.0.1" }, "servers"},
		{"port 0", func(a *JoinAnswer) { a.Servers[0] = "https://10.0.0.1:0" }, "servers"},
		{"path", func(a *JoinAnswer) { a.Servers[0] = "https://10.0.0.1:6443/x" }, "servers"},
		{"user", func(a *JoinAnswer) { a.Servers[0] = "https://a@10.0.0.1:6443" }, "servers"},
		{"line", func(a *JoinAnswer) { a.Servers[0] = "https://10.0.0.1:6443\n" }, "servers"},
		{"shell", func(a *JoinAnswer) { a.Servers[0] = "https://$(id):6443" }, "servers"},
		{"version", func(a *JoinAnswer) { a.K3sVersion = "../v1" }, "k3s_version"},
		{"not sealed", func(a *JoinAnswer) { a.Sealed = "" }, "sealed"},
		{"sealed", func(a *JoinAnswer) { a.Sealed = "K10::server:x" }, "sealed"},
		{"sealed long", func(a *JoinAnswer) { a.Sealed = strings.Repeat("AAAA", 1000) }, "sealed"},
		{"foreign setting", func(a *JoinAnswer) { a.Settings["kube-apiserver-arg"] = []string{"x"} }, "settings"},
		{"no value", func(a *JoinAnswer) { a.Settings["disable"] = nil }, "settings"},
		{"empty value", func(a *JoinAnswer) { a.Settings["disable"] = []string{""} }, "settings"},
		{"line in a value", func(a *JoinAnswer) { a.Settings["disable"] = []string{"x\ntoken: y"} }, "settings"},
		{"long value", func(a *JoinAnswer) { a.Settings["disable"] = []string{strings.Repeat("x", 513)} }, "settings"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := joinAnswer()
			tt.edit(&a)
			err := a.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzParseMachineURI(f *testing.F) {
	f.Add(MachineURI("097568c539b6e9a5", ""))
	f.Add(MachineURI("097568c539b6e9a5", "0123456789abcdef"))
	f.Add("pipeops://cluster//machine/")
	f.Fuzz(func(t *testing.T, uri string) {
		if cluster, machine, ok := ParseMachineURI(uri); ok && MachineURI(cluster, machine) != uri {
			t.Errorf("%q is read as %q, %q", uri, cluster, machine)
		}
	})
}

// FuzzJoinAnswer checks that what passes can be written line by line into a configuration file.
func FuzzJoinAnswer(f *testing.F) {
	raw, err := json.Marshal(joinAnswer())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"servers":["https://10.0.0.1:6443"],"settings":{"disable":["a\nb"]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a JoinAnswer
		if json.Unmarshal(raw, &a) != nil || a.Validate() != nil {
			return
		}
		for _, s := range a.Servers {
			if strings.ContainsFunc(s, unprintable) || strings.ContainsAny(s, " '\"$`\\") {
				t.Errorf("server %q", s)
			}
		}
		for name, values := range a.Settings {
			for _, v := range values {
				if strings.ContainsAny(name+v, "\r\n\x00") {
					t.Errorf("%s: %q", name, v)
				}
			}
		}
	})
}

// FuzzJoinRequest checks that what passes can be a name in a path of the Kubernetes API.
func FuzzJoinRequest(f *testing.F) {
	raw, err := json.Marshal(joinRequest())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"node_name":"a/../b"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var r JoinRequest
		if json.Unmarshal(raw, &r) != nil || r.Validate() != nil {
			return
		}
		if path, err := CleanPath("/api/v1/nodes/" + r.NodeName); err != nil || path != "/api/v1/nodes/"+r.NodeName {
			t.Errorf("%q: %q, %v", r.NodeName, path, err)
		}
	})
}
