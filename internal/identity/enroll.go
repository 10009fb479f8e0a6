package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/transport"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultPort is that of a gateway whose address names none.
const DefaultPort = "8443"

// enrollTimeout bounds the whole exchange: one handshake, one request.
const enrollTimeout = 30 * time.Second

// Options say how to enrol.
type Options struct {
	Dir     string // where the identity is kept
	Gateway string // host, host:port or https://host:port
	Token   wire.Token
	Cluster string // name of the cluster, as wire.ValidName has it
	Agent   string // version of the agent

	Transport *transport.Dialer // how the gateway is reached; nil: directly
}

// Enroll exchanges the token for an identity and stores it in place of any that is there. The key is stored before the
// request and used again if there is one, so that a call that was cut anywhere can be repeated with the same token. The
// error is one of those of [transport.Dialer.HTTPS], GATEWAY_REFUSED, TOKEN_UNKNOWN, TOKEN_USED, TOKEN_EXPIRED,
// CLUSTER_NAME_TAKEN and USAGE, or that of the file system.
func Enroll(ctx context.Context, o Options) (*Identity, error) {
	address, err := Address(o.Gateway)
	if err != nil {
		return nil, err
	}
	if !wire.ValidName(o.Cluster) {
		return nil, reason.Newf(reason.Usage, "cluster name %q: want lower-case letters, digits and '-', at most 40", o.Cluster)
	}
	id, csr, err := prepare(o.Dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, enrollTimeout)
	defer cancel()
	var answer wire.EnrollResponse
	err = o.post(ctx, address, wire.PathEnroll, wire.EnrollRequest{
		Version: wire.Version, Token: o.Token.Reveal(), Cluster: o.Cluster, CSR: csr, Agent: o.Agent,
	}, &answer)
	if err != nil {
		return nil, err
	}
	return id.keep(o.Token, document{
		Version: wire.Version, ClusterID: answer.ClusterID, Cluster: answer.Cluster,
		Gateway: address, Certificate: answer.Certificate, CA: answer.CA,
	})
}

// prepare returns an identity that has a key only, and a request for its certificate.
func prepare(dir string) (*Identity, string, error) {
	id := &Identity{folder: folder(dir)}
	var err error
	if id.key, err = id.folder.ensureKey(); err != nil {
		return nil, "", fmt.Errorf("cannot make the key of this machine: %w", err)
	}
	csr, err := request(id.key)
	if err != nil {
		return nil, "", fmt.Errorf("cannot make a certificate request: %w", err)
	}
	return id, csr, nil
}

// keep makes what a gateway answered the identity, on disk too, if it is of the CA that the token names.
func (i *Identity) keep(token wire.Token, doc document) (*Identity, error) {
	ca, err := parseCertificate(doc.CA)
	if err != nil || !token.Pins(ca.Raw) {
		return nil, reason.Newf(reason.GatewayUntrusted, "%s sent another CA than the one that the token names", doc.Gateway)
	}
	if err := i.use(doc); err != nil {
		return nil, reason.New(reason.GatewayRefused, doc.Gateway+" sent an identity that is of no use", err)
	}
	if err := i.folder.store(doc); err != nil {
		return nil, err
	}
	_ = os.Remove(i.folder.path(gatewaysFile)) // of another fleet, maybe; they would not be trusted
	return i, nil
}

func (f folder) store(doc document) error {
	raw, err := json.MarshalIndent(doc, "", "  ")
	if err == nil && len(raw) >= maxFile { // a gateway could else send an identity with which the agent does not start again
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if err == nil {
		err = f.write(documentFile, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot store the identity: %w", err)
	}
	return nil
}

// maxAnswer bounds the gateway's answer: two chains of certificates.
const maxAnswer = 64 << 10

// post sends a request that no certificate goes with yet.
func (o Options) post(ctx context.Context, address, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	client := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: wire.MaxHeader,
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return o.Transport.HTTPS(ctx, address, pinned(o.Token, address))
		},
	}
	response, err := client.RoundTrip(r)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		return reason.New(reason.GatewayUnreachable, address+" was reached, but gave no answer in time", err)
	}
	if err != nil {
		return transport.Explain(err, address)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return refusal.Read(response)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(answer); err != nil {
		return reason.New(reason.GatewayUnreachable, "the answer of "+address+" was cut", err)
	}
	return nil
}

// pinned trusts the CA whose digest is in the token, for the fixed name of gateways, and nothing else.
func pinned(token wire.Token, address string) transport.Config {
	return func(now func() time.Time, protocols ...string) *tls.Config {
		return &tls.Config{
			MinVersion:         tls.VersionTLS13,
			ServerName:         wire.GatewayName,
			NextProtos:         protocols,
			InsecureSkipVerify: true, //nolint:gosec // by the system's CAs: VerifyConnection knows the only one that counts
			VerifyConnection: func(state tls.ConnectionState) error {
				pool := x509.NewCertPool()
				found := false
				for _, c := range state.PeerCertificates {
					if token.Pins(c.Raw) {
						pool.AddCert(c)
						found = true
					}
				}
				leaf := state.PeerCertificates[0]
				if !found {
					e := transport.Untrusted(address, leaf)
					e.Evidence += ", not by the CA that the token names"
					return e
				}
				_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: wire.GatewayName, CurrentTime: now()})
				return err
			},
		}
	}
}

// Address makes host:port of the ways in which people write the address of a gateway.
func Address(gateway string) (string, error) {
	text := strings.TrimSpace(gateway)
	bad := reason.Newf(reason.Usage, "gateway address %q: want host, host:port or https://host:port", text)
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return "", bad
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
