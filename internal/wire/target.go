package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Target is what a tunnel of TCP or UDP leads to: a port of a Service or of a pod, by its name. There are no addresses in it: the agent
// asks the Kubernetes API for them.
type Target struct {
	Network   string // "tcp" or "udp"
	Kind      string // [KindService] or [KindPod]
	Namespace string
	Name      string
	Port      string // a number from 1 to 65535, or the name that the object gives it
}

// Kinds of targets.
const (
	KindService = "svc"
	KindPod     = "pod"
)

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)                              // RFC 1123, as namespaces and Services have it
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`) // as pods have it
	portName     = regexp.MustCompile(`^[a-z0-9]([a-z0-9]|-[a-z0-9])*$`)                                   // RFC 6335
	letter       = regexp.MustCompile(`[a-z]`)
)

// maxSubdomain bounds the name of a pod; maxPortName that of a port, RFC 6335.
const (
	maxSubdomain = 253
	maxPortName  = 15
)

// ParseTarget reads a target as people write it: svc/NAMESPACE/NAME:PORT or pod/NAMESPACE/NAME:PORT.
func ParseTarget(network, text string) (Target, error) {
	name, port, found := strings.Cut(text, ":")
	parts := strings.Split(name, "/")
	if !found || len(parts) != 3 {
		return Target{}, fmt.Errorf("target %.80q: want svc/NAMESPACE/NAME:PORT or pod/NAMESPACE/NAME:PORT", text)
	}
	switch parts[0] {
	case "service", "services":
		parts[0] = KindService
	case "pods":
		parts[0] = KindPod
	}
	t := Target{Network: network, Kind: parts[0], Namespace: parts[1], Name: parts[2], Port: port}
	return t, t.Validate()
}

// Validate says what is wrong with a target in the words of who wrote it.
func (t Target) Validate() error {
	switch {
	case t.Network != "tcp" && t.Network != "udp":
		return fmt.Errorf("network %.20q: want tcp or udp", t.Network)
	case t.Kind != KindService && t.Kind != KindPod:
		return fmt.Errorf("target %.20q: want svc or pod", t.Kind)
	case !dnsLabel.MatchString(t.Namespace):
		return fmt.Errorf("namespace %.80q is none", t.Namespace)
	case t.Kind == KindService && !dnsLabel.MatchString(t.Name), len(t.Name) > maxSubdomain, !dnsSubdomain.MatchString(t.Name):
		return fmt.Errorf("name %.80q is none of a service or a pod", t.Name)
	case t.Number() == 0 && (len(t.Port) > maxPortName || !portName.MatchString(t.Port) || !letter.MatchString(t.Port)):
		return fmt.Errorf("port %.20q: want 1 to 65535, or the name of a port", t.Port)
	}
	return nil
}

// Number is the port's number; 0 if it is given by its name.
func (t Target) Number() int {
	n, err := strconv.ParseUint(t.Port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != t.Port {
		return 0
	}
	return int(n)
}

// String is the target as people write it.
func (t Target) String() string { return t.Kind + "/" + t.Namespace + "/" + t.Name + ":" + t.Port }

// Path is the target as paths have it, below [PathConnect] and a cluster, or below [PathAgentConnect]: /tcp/svc/NAMESPACE/NAME/PORT.
func (t Target) Path() string {
	return "/" + strings.Join([]string{t.Network, t.Kind, t.Namespace, t.Name, t.Port}, "/")
}

// TargetOfPath reads what Path wrote. Nothing in it is ever escaped, so an escape is an error.
func TargetOfPath(escaped string) (Target, error) {
	rest, ok := strings.CutPrefix(escaped, "/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 5 {
		return Target{}, fmt.Errorf("path %.80q: want /tcp or /udp, /svc or /pod, /NAMESPACE/NAME/PORT", escaped)
	}
	t := Target{Network: parts[0], Kind: parts[1], Namespace: parts[2], Name: parts[3], Port: parts[4]}
	return t, t.Validate()
}
