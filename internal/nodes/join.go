package nodes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/nacl/box"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultDataDir is where k3s keeps its data unless it is told otherwise.
const DefaultDataDir = "/var/lib/rancher/k3s"

// k3s is the distribution that machines can join; package distro calls it so too.
const k3s = "k3s"

// defaultPort is that of the API server of k3s, by which machines join too.
const defaultPort = 6443

// Door says how a machine becomes a node of the cluster of this machine, or why it does not.
type Door struct {
	Distro  string
	Closed  bool   // the owner of this machine wants no joins
	DataDir string // of k3s; "" means DefaultDataDir
	Now     func() time.Time
}

// Cluster is the API server as a Door needs it.
type Cluster struct {
	Dynamic dynamic.Interface
	// CACerts returns the CA of the cluster in PEM, as its servers show it to machines that join.
	CACerts func(context.Context) ([]byte, error)
}

// Answer says how a machine joins. It makes a token for a worker, and seals it so that nobody but the machine can read it. The
// error is JOIN_FORBIDDEN, JOIN_NOT_K3S, JOIN_NAME_TAKEN, JOIN_NO_ETCD, JOIN_VERSION, USAGE, or JOIN_UNAVAILABLE, after which
// another server may know better.
func (d Door) Answer(ctx context.Context, c Cluster, request wire.AgentJoinRequest) (wire.JoinAnswer, error) {
	answer, err := d.answer(ctx, c, request)
	var known *reason.Error
	switch {
	case err == nil, errors.As(err, &known):
		return answer, err
	}
	return wire.JoinAnswer{}, Unavailable(err)
}

// Unavailable is JOIN_UNAVAILABLE for a cause that the machine which joins is to be told.
func Unavailable(err error) error { return reason.Newf(reason.JoinUnavailable, "%v", err) }

func (d Door) answer(ctx context.Context, c Cluster, request wire.AgentJoinRequest) (wire.JoinAnswer, error) {
	var none wire.JoinAnswer
	if d.Closed {
		return none, reason.Newf(reason.JoinForbidden, "the configuration of this server says join: false")
	}
	if d.Distro != k3s {
		return none, reason.Newf(reason.JoinNotK3s, "the distribution of the cluster is %s", d.Distro)
	}
	if err := request.Validate(); err != nil {
		return none, reason.Newf(reason.Usage, "%v", err)
	}
	key, err := wire.ParseSealKey(request.SealKey)
	if err != nil {
		return none, reason.Newf(reason.Usage, "%v", err)
	}
	list, err := List(ctx, c.Dynamic)
	if err != nil {
		return none, err
	}
	var servers []Node
	etcd, there := false, false
	for _, n := range list {
		if n.Name == request.NodeName {
			there = true
			if !request.Again {
				return none, reason.Newf(reason.JoinNameTaken, "%s has been there since %s", n.Name, n.Created.UTC().Format(time.RFC3339))
			}
			continue // it cannot vouch for itself
		}
		if n.Server {
			servers = append(servers, n)
			etcd = etcd || n.Etcd
		}
	}
	switch {
	case len(servers) == 0:
		return none, fmt.Errorf("the cluster has no node that is a server")
	case request.Role == wire.RoleServer && !etcd:
		return none, reason.Newf(reason.JoinNoEtcd, "none of its servers (%s) has the role etcd", names(servers))
	}
	slices.SortStableFunc(servers, func(a, b Node) int { return rank(a) - rank(b) })
	var answer wire.JoinAnswer
	own := eldest(servers)
	if own == "" {
		return none, reason.Newf(reason.JoinNotK3s, "its servers run %s", servers[0].Version)
	}
	var ok bool
	if answer.K3sVersion, ok = choose(own, request.K3sVersions, request.Role); !ok {
		return none, reason.Newf(reason.JoinVersion, "the cluster runs %s, the machine can install %s", own, strings.Join(request.K3sVersions, ", "))
	}
	if answer.Servers, err = addresses(ctx, c.Dynamic, servers); err != nil {
		return none, err
	}
	digest, err := caDigest(ctx, c)
	if err != nil {
		return none, err
	}
	var token string
	if request.Role == wire.RoleServer {
		answer.Settings = shared(servers[0].args)
		token, err = d.serverToken(digest)
	} else {
		token, err = d.makeToken(ctx, c.Dynamic, request, there)
		token = fullToken(digest, token)
	}
	if err != nil {
		return none, err
	}
	sealed, err := box.SealAnonymous(nil, []byte(token), key, rand.Reader)
	if err != nil {
		return none, fmt.Errorf("cannot seal the token: %w", err)
	}
	answer.Sealed = base64.StdEncoding.EncodeToString(sealed)
	if err := answer.Validate(); err != nil {
		return none, fmt.Errorf("cannot tell the way: %w", err)
	}
	return answer, nil
}

func (d Door) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

// rank puts servers that are ready before the others.
func rank(n Node) int {
	if n.Ready == "True" {
		return 0
	}
	return 1
}

func names(list []Node) string {
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = n.Name
	}
	return strings.Join(all, ", ")
}

// addresses returns where the servers can be reached, the best first: as the API servers advertise themselves, in the order
// of the servers, then by the addresses that those have outside.
func addresses(ctx context.Context, client dynamic.Interface, servers []Node) ([]string, error) {
	advertisers := client.Resource(schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}).Namespace("default")
	ports := map[string]int{} // by address
	var advertised []string
	err := each(ctx, advertisers, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"}, func(o *unstructured.Unstructured) error {
		port := 0
		held, _, _ := unstructured.NestedSlice(o.Object, "ports")
		for _, entry := range held {
			if p, ok := entry.(map[string]any); ok && (p["name"] == "https" || port == 0) {
				if n, ok := p["port"].(int64); ok && n > 0 && n < 1<<16 {
					port = int(n)
				}
			}
		}
		endpoints, _, _ := unstructured.NestedSlice(o.Object, "endpoints")
		for _, entry := range endpoints {
			endpoint, _ := entry.(map[string]any)
			list, _, _ := unstructured.NestedStringSlice(endpoint, "addresses")
			for _, a := range list {
				if net.ParseIP(a) != nil && ports[a] == 0 && port != 0 {
					ports[a], advertised = port, append(advertised, a)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of the API server: %w", err)
	}
	port := defaultPort
	if len(advertised) > 0 {
		port = ports[advertised[0]]
	}
	var out []string
	add := func(address string, port int) {
		if s := "https://" + net.JoinHostPort(address, strconv.Itoa(port)); !slices.Contains(out, s) && len(out) < maxServers {
			out = append(out, s)
		}
	}
	for _, n := range servers {
		for _, a := range n.Internal {
			if ports[a] != 0 {
				add(a, ports[a])
			}
		}
	}
	for _, a := range advertised {
		add(a, ports[a])
	}
	for _, n := range servers {
		for _, a := range n.External {
			add(a, port)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no server has an address that is known")
	}
	return out, nil
}

// maxServers is how many addresses an answer can have at most.
const maxServers = 16

// caDigest returns the digest of the CA that the servers of a cluster show.
func caDigest(ctx context.Context, c Cluster) (string, error) {
	raw, err := c.CACerts(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot read the CA of the cluster: %w", err)
	}
	return CADigest(raw)
}

func fullToken(digest, secret string) string { return "K10" + digest + "::" + secret }

// serverSecret is what stands in a full token of a server after the digest.
var serverSecret = regexp.MustCompile(`^K10[0-9a-f]{64}::(server:[!-~]{1,400})$`)

// maxTokenFile bounds the file, in bytes; a token has some 110.
const maxTokenFile = 4 << 10

// serverToken reads the token by which servers join. Its errors never hold any of it.
func (d Door) serverToken(digest string) (string, error) {
	dir := d.DataDir
	if dir == "" {
		dir = DefaultDataDir
	}
	path := filepath.Join(dir, "server", "token")
	raw, err := atomicfile.Read(path, maxTokenFile)
	if err != nil {
		return "", fmt.Errorf("cannot read the token of the servers: %w", err)
	}
	found := serverSecret.FindStringSubmatch(strings.TrimSpace(string(raw)))
	if found == nil {
		return "", fmt.Errorf("cannot read the token of the servers: %s holds none in the full form", path)
	}
	return fullToken(digest, found[1]), nil
}

// absent makes nil of an error that says that a thing is not there.
func absent(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
