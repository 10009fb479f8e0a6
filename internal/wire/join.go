package wire

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Role is what a machine is in its cluster.
type Role string

// The roles of a machine: a server runs the control plane, and by default pods too; a worker runs pods only.
const (
	RoleServer Role = "server"
	RoleWorker Role = "worker"
)

// Known reports whether r is one of the roles.
func (r Role) Known() bool { return r == RoleServer || r == RoleWorker }

// JoinRequest exchanges a node token for a certificate and for what the machine needs to become a node of the token's
// cluster.
type JoinRequest struct {
	Version  int    `json:"version"`
	Token    string `json:"token"`
	CSR      string `json:"csr"`            // PEM; only the key is used
	NodeName string `json:"node_name"`      // as the Node will be called
	Role     Role   `json:"role,omitempty"` // what the machine was told to become; empty means what the token says
	// SealKey is an X25519 public key in base64. Only the holder of its private key can read JoinResponse.Sealed.
	SealKey string `json:"seal_key"`
	Arch    string `json:"arch"` // as Go names it: amd64, arm64
	// K3sVersions are the versions of k3s that the machine can install ("v1.33.2+k3s1"); empty means any.
	K3sVersions []string `json:"k3s_versions,omitempty"`
	Agent       string   `json:"agent"` // version of the agent
}

// JoinResponse is the identity of a machine in its cluster, and the way in. The same token with the same key gets an
// equivalent answer again until the token expires, so that a machine that lost the first answer can go on.
type JoinResponse struct {
	Certificate string `json:"certificate"` // PEM, leaf first
	CA          string `json:"ca"`          // PEM of the gateway's CA; the machine checks it against the token's digest
	Cluster     string `json:"cluster"`
	ClusterID   string `json:"cluster_id"`
	Machine     string `json:"machine"` // id of the machine
	Role        Role   `json:"role"`
	JoinAnswer
}

// AgentJoinRequest asks the agent of a cluster for the way in for one machine.
type AgentJoinRequest struct {
	Version     int      `json:"version"`
	Machine     string   `json:"machine"`
	Role        Role     `json:"role"`
	NodeName    string   `json:"node_name"`
	SealKey     string   `json:"seal_key"`
	K3sVersions []string `json:"k3s_versions,omitempty"`
	// Again says that this machine has been told before: a Node of the name may be its own.
	Again bool `json:"again,omitempty"`
}

// AgentJoinResponse is the answer of the cluster's agent.
type AgentJoinResponse struct{ JoinAnswer }

// JoinAnswer is what the agent of a cluster tells a machine that joins. The gateway relays it as it is.
type JoinAnswer struct {
	Servers    []string `json:"servers"`     // "https://10.0.0.1:6443", the best first
	K3sVersion string   `json:"k3s_version"` // what the machine is to install
	// Settings are those of k3s that servers must share, by the names of its configuration file, with their values. One
	// that is on or off has the value "true" or "false". Workers get theirs from the servers, and none here.
	Settings map[string][]string `json:"settings,omitempty"`
	// Sealed is a k3s token in its full form (K10<digest of the cluster's CA>::...), by nacl's anonymous sealed box to
	// the key of the request, in base64.
	Sealed string `json:"sealed"`
}

// Limits of a join.
const (
	sealKeySize    = 32   // of an X25519 public key
	maxSealed      = 2048 // bytes in base64; a full token has some 150
	maxServers     = 16
	maxVersions    = 64
	maxVersionText = 64
	maxValues      = 64
	maxValue       = 512
)

var (
	nodeName   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	k3sVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?\+k3s[0-9]+$`)
	archName   = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
)

// SharedSettings returns the settings of k3s that the servers of one cluster must share, by their names in its
// configuration file: those that k3s itself compares when a server joins (CriticalControlArgs), and those that would
// otherwise differ by server.
func SharedSettings() []string {
	return []string{
		"cluster-cidr", "service-cidr", "service-node-port-range", "cluster-dns", "cluster-domain",
		"disable", "disable-cloud-controller", "disable-helm-controller", "disable-kube-proxy", "disable-network-policy",
		"egress-selector-mode", "embedded-registry", "flannel-backend", "flannel-external-ip", "flannel-ipv6-masq",
		"secrets-encryption", "tls-san",
	}
}

// ValidNodeName reports whether s may name a Node: a DNS subdomain of at most 63 bytes. The Kubernetes API takes longer
// ones, but a label of that name, which every node gets, does not.
func ValidNodeName(s string) bool { return len(s) <= 63 && nodeName.MatchString(s) }

// ValidK3sVersion reports whether s is a version of k3s, such as "v1.33.2+k3s1".
func ValidK3sVersion(s string) bool { return len(s) <= maxVersionText && k3sVersion.MatchString(s) }

// ParseSealKey reads an X25519 public key in base64.
func ParseSealKey(s string) (*[sealKeySize]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(raw) != sealKeySize {
		return nil, fmt.Errorf("seal_key: want %d bytes in base64", sealKeySize)
	}
	return (*[sealKeySize]byte)(raw), nil
}

// Validate checks all of a request but its token and CSR, and says what is wrong in the words of its fields.
func (r JoinRequest) Validate() error {
	if !archName.MatchString(r.Arch) {
		return fmt.Errorf("arch %.20q: want a name such as amd64", r.Arch)
	}
	if r.Role != "" && !r.Role.Known() {
		return fmt.Errorf("role %.20q: want %s or %s", r.Role, RoleServer, RoleWorker)
	}
	if len(r.Agent) > maxVersionText {
		return fmt.Errorf("agent: the version is longer than %d bytes", maxVersionText)
	}
	return validNode(r.NodeName, r.SealKey, r.K3sVersions)
}

// Validate checks a request and says what is wrong in the words of its fields.
func (r AgentJoinRequest) Validate() error {
	if !r.Role.Known() {
		return fmt.Errorf("role %.20q: want %s or %s", r.Role, RoleServer, RoleWorker)
	}
	if !ValidID(r.Machine) {
		return fmt.Errorf("machine %.40q: want an id", r.Machine)
	}
	return validNode(r.NodeName, r.SealKey, r.K3sVersions)
}

func validNode(name, sealKey string, versions []string) error {
	if !ValidNodeName(name) {
		return fmt.Errorf("node_name %.70q: want lower-case letters, digits, '-' and '.', at most 63", name)
	}
	if _, err := ParseSealKey(sealKey); err != nil {
		return err
	}
	if len(versions) > maxVersions {
		return fmt.Errorf("k3s_versions: %d of them, want at most %d", len(versions), maxVersions)
	}
	for _, v := range versions {
		if !ValidK3sVersion(v) {
			return fmt.Errorf("k3s_versions: %.70q is no version of k3s", v)
		}
	}
	return nil
}

// Validate checks an answer from the point of view of both that pass it on and of the machine that will write it into its
// configuration: what passes has no control characters, and no setting but those that servers share.
func (a JoinAnswer) Validate() error {
	if len(a.Servers) == 0 || len(a.Servers) > maxServers {
		return fmt.Errorf("servers: %d of them, want 1 to %d", len(a.Servers), maxServers)
	}
	for _, s := range a.Servers {
		if err := validServer(s); err != nil {
			return err
		}
	}
	if !ValidK3sVersion(a.K3sVersion) {
		return fmt.Errorf("k3s_version: %.70q is no version of k3s", a.K3sVersion)
	}
	if raw, err := base64.StdEncoding.Strict().DecodeString(a.Sealed); err != nil || len(raw) == 0 || len(a.Sealed) > maxSealed {
		return fmt.Errorf("sealed: want at most %d bytes of base64", maxSealed)
	}
	known := map[string]bool{}
	for _, name := range SharedSettings() {
		known[name] = true
	}
	for name, values := range a.Settings {
		if !known[name] {
			return fmt.Errorf("settings: %.60q is none that servers share", name)
		}
		if len(values) == 0 || len(values) > maxValues {
			return fmt.Errorf("settings: %s has %d values, want 1 to %d", name, len(values), maxValues)
		}
		for _, v := range values {
			if v == "" || len(v) > maxValue || strings.ContainsFunc(v, unprintable) {
				return fmt.Errorf("settings: %s: %.60q is no value", name, v)
			}
		}
	}
	return nil
}

func unprintable(r rune) bool { return r < 0x20 || r > 0x7e }

// validServer checks the address of a server: https, an address or a name, a port, nothing else.
func validServer(s string) error {
	bad := fmt.Errorf("servers: %.100q: want https://ADDRESS:PORT", s)
	u, err := url.Parse(s)
	if err != nil || len(s) > 300 || u.Scheme != "https" || "https://"+u.Host != s {
		return bad
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 {
		return bad
	}
	if net.ParseIP(u.Hostname()) == nil && (len(u.Hostname()) > 253 || !nodeName.MatchString(u.Hostname())) {
		return bad
	}
	return nil
}
