package wire

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ALPNGateway is the TLS application protocol between gateways of a fleet: HTTP/1.1 by mTLS.
const ALPNGateway = "pipeops-gateway/1"

// gatewayURI precedes the id of a gateway in the URI of its certificate.
const gatewayURI = "pipeops://gateway/"

// GatewayURI is the URI in the certificate by which a gateway asks another one.
func GatewayURI(id string) string { return gatewayURI + id }

// ParseGatewayURI returns the id of the gateway in the URI of a certificate.
func ParseGatewayURI(uri string) (id string, ok bool) {
	if id, ok = strings.CutPrefix(uri, gatewayURI); !ok || !ValidID(id) {
		return "", false
	}
	return id, true
}

// Headers of a request from one gateway to another: whom it is for, and by whose right. What else is in its header is what the agent
// gets.
const (
	HeaderCluster = "Pipeops-Cluster" // id
	HeaderMachine = "Pipeops-Machine" // id
	HeaderGrant   = "Pipeops-Grant"   // id of a user's token, or of a permit
)

// Limits on Welcome.KeepAlive, in seconds. A fifth of jitter on top of the most is 120 s, and what a ping promises goes to 127.
const (
	MinKeepAlive = 25
	MaxKeepAlive = 100
)

// Limits on what a gateway says of its fleet.
const (
	MaxGateways  = 16 // an agent keeps no more
	MaxAddresses = 4  // of each
)

// Hello is the first request of an agent on a session, and says later that the session's part has changed.
type Hello struct {
	Version  int    `json:"version"`
	Instance string `json:"instance"`           // of the process: 16 hexadecimal digits, drawn when it starts
	Epoch    int64  `json:"epoch,omitempty"`    // that the process was given before, 0 if none
	Standby  bool   `json:"standby,omitempty"`  // the process works on another session
	Replaces bool   `json:"replaces,omitempty"` // the session takes the place of the one that the process has at this gateway
}

// Welcome is the answer to Hello.
type Welcome struct {
	Gateway string `json:"gateway"` // id of this run of it
	Epoch   int64  `json:"epoch"`
	// Held says that the process has a session at this gateway already, and that this one is of no use unless it says that it
	// replaces that.
	Held bool `json:"held,omitempty"`
	// Second is the token by which a further connection belongs to this session, see Second; it is worth nothing without the certificate
	// of the machine.
	Second string `json:"second,omitempty"`
	// KeepAlive is how many seconds the agent should be silent before it pings, see KeepAliveTime. A gateway with many agents says more.
	KeepAlive int              `json:"keep_alive_s,omitempty"`
	Gateways  []GatewayAddress `json:"gateways,omitempty"` // that take agents, this one among them unless it is about to stop
}

// KeepAliveTime is KeepAlive within its limits; the least if the gateway says nothing of it.
func (w Welcome) KeepAliveTime() time.Duration {
	return time.Duration(min(max(w.KeepAlive, MinKeepAlive), MaxKeepAlive)) * time.Second
}

// GatewayAddress is where a gateway takes agents.
type GatewayAddress struct {
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"` // host:port
}

// News says that gateways have come or gone.
type News struct {
	Gateways []GatewayAddress `json:"gateways"`
}

// Goodbye says why a session is about to end.
type Goodbye struct {
	Error
	// AfterMS is how many milliseconds to wait before connecting again, here or elsewhere; it spreads agents. 0: as the agent likes.
	AfterMS  int64            `json:"after_ms,omitempty"`
	Gateways []GatewayAddress `json:"gateways,omitempty"` // to connect to instead
}

// MaxAfterMS bounds Goodbye.AfterMS: an agent waits no longer, whatever it is told.
const MaxAfterMS = 60_000

// Validate says what is wrong with a Hello.
func (h Hello) Validate() error {
	if !ValidID(h.Instance) || h.Epoch < 0 {
		return fmt.Errorf("instance %.20q, epoch %d: want 16 hexadecimal digits, and no negative number", h.Instance, h.Epoch)
	}
	return nil
}

// Known returns those of a list of gateways that can be used, within the limits.
func Known(list []GatewayAddress) []GatewayAddress {
	var out []GatewayAddress
	for _, g := range list {
		if !ValidID(g.ID) || len(out) == MaxGateways {
			continue
		}
		var addresses []string
		for _, a := range g.Addresses {
			if ValidAddress(a) && len(addresses) < MaxAddresses {
				addresses = append(addresses, a)
			}
		}
		if len(addresses) > 0 {
			out = append(out, GatewayAddress{g.ID, addresses})
		}
	}
	return out
}

// ValidAddress reports whether s is host:port with a name or an address as host.
func ValidAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || len(host) == 0 || len(host) > 253 {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return false
	}
	if net.ParseIP(host) != nil {
		return true
	}
	for _, r := range host {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' {
			return false
		}
	}
	return true
}

// Addresses returns where a gateway may be: first, then the addresses of those that are known.
func Addresses(first string, known []GatewayAddress) []string {
	all := []string{first}
	for _, g := range known {
		for _, a := range g.Addresses {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}
