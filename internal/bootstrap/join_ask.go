package bootstrap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// reachTimeout is how long a server may take to answer: one handshake, one request.
	reachTimeout = 10 * time.Second
	// maxCA bounds the CA bundle of a cluster, in bytes: one certificate has some 600.
	maxCA = 64 << 10
	// maxVersions is how many versions of k3s the cluster is told of, the newest.
	maxVersions = 32
)

// askToJoin exchanges the node token for an identity and the way into the cluster. The cluster is told which versions of k3s can
// be installed here, so that it refuses a machine that none would fit before the token is used up.
func (o Options) askToJoin(ctx context.Context) (*identity.Identity, identity.Joined, error) {
	versions, err := o.k3sVersions(ctx)
	if err != nil {
		return nil, identity.Joined{}, err
	}
	token, err := o.Token()
	if err != nil {
		return nil, identity.Joined{}, err
	}
	return identity.Join(ctx, identity.JoinOptions{
		Options:  identity.Options{Dir: o.identityDir(), Gateway: o.Gateway, Token: token, Agent: o.Version, Transport: o.Transport},
		NodeName: o.Install.NodeName, Role: o.Node.Role, K3sVersions: versions,
	})
}

// k3sVersions returns what the signed manifest has for this machine, the newest first.
func (o Options) k3sVersions(ctx context.Context) ([]string, error) {
	if err := o.Install.Manifests.Ready(); err != nil {
		return nil, err
	}
	m, err := o.Install.Manifests.Fetch(ctx, o.fetcher())
	if err != nil {
		return nil, err
	}
	images := m.Versions("k3s", o.Install.Arch, "images")
	versions := slices.DeleteFunc(m.Versions("k3s", o.Install.Arch, "binary"), func(v string) bool {
		return !slices.Contains(images, v) || !wire.ValidK3sVersion(v)
	})
	if len(versions) == 0 {
		return nil, artifact.Lacks(m, "k3s", "", o.Install.Arch, "binary")
	}
	return versions[:min(len(versions), maxVersions)], nil
}

func (o Options) fetcher() *artifact.Fetcher {
	if o.Install.Fetcher != nil {
		return o.Install.Fetcher
	}
	return &artifact.Fetcher{Client: artifact.NewClient(o.Install.Proxy.Proxy)}
}

// findServer returns the server that the node asks first. A node that has joined stays with the one that it has; else each server
// must be the cluster's, and one of them be reached. No token is sent to any.
func (o Options) findServer(ctx context.Context, way identity.Joined, facts host.Facts) (string, error) {
	if server := heldServer(facts); server != "" {
		return server, nil
	}
	ca, err := distro.TokenCA(way.Token())
	if err != nil {
		return "", err
	}
	first, said := "", []string(nil)
	for _, server := range way.Servers {
		err := reachServer(ctx, server, ca, way.Role)
		switch {
		case reason.Is(err, reason.ClusterUntrusted), ctx.Err() != nil:
			return "", err
		case err != nil:
			said = append(said, err.Error())
		case first == "":
			first = server
		}
	}
	if first == "" {
		return "", reason.Newf(reason.NetServerUnreachable, "%s", strings.Join(said, "; "))
	}
	for _, s := range said {
		o.Events(event("notice", "A server of the cluster is not reached from this machine: "+s, nil))
	}
	return first, nil
}

// heldServer is the server in the configuration of a node that has joined, "" if there is none.
func heldServer(facts host.Facts) string {
	for _, c := range facts.Clusters {
		if server := c.Settings["server"]; c.Name == distro.K3s && c.Ours.Value && server != "" {
			return server
		}
	}
	return ""
}

// reachServer asks a server for the CA of its cluster, and for a machine that is to be a server tries the ports of its etcd.
func reachServer(ctx context.Context, server, ca string, role wire.Role) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	bundle, err := serverCA(ctx, server)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(server, "https://"), bare(err))
	}
	if got, err := nodes.CADigest(bundle); err != nil || got != ca {
		return reason.New(reason.ClusterUntrusted, server+" is the server of a cluster with another CA than the one that this machine joins", err)
	}
	u, err := url.Parse(server)
	if err != nil || role != wire.RoleServer {
		return err
	}
	for _, port := range []string{"2379", "2380"} {
		address := net.JoinHostPort(u.Hostname(), port)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("%s: %w", address, bare(err))
		}
		_ = conn.Close()
	}
	return nil
}

// bare is the cause of an error of the network, without the address, which is told before.
func bare(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// serverCA gets the CA bundle of a server. It is trusted by its digest only.
func serverCA(ctx context.Context, server string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/cacerts", http.NoBody)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true, // through no proxy: it is near
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} //nolint:gosec // what is read is compared with a digest
	response, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/cacerts answers %s", response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxCA))
}
