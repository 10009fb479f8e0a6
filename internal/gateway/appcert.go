package gateway

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// maxAppCertificates bounds the certificates that are kept for names below the apps domain, one for each cluster. What a client names
	// decides, so there could be any number; making one costs about as much as the handshake itself.
	maxAppCertificates = 256
	// pairLooked is how often it is looked whether the files of a certificate have changed.
	pairLooked = time.Minute
)

// appCertificates are those of the host names of projects: of files that somebody renews, or made by the gateway's own CA.
type appCertificates struct {
	mu     sync.Mutex
	own    map[string]*tls.Certificate // by cluster
	pair   *tls.Certificate
	stamp  [2]time.Time // when the files of the pair had changed
	looked time.Time
}

// certificate picks that of a connection by the name that the client asks for.
func (g *Gateway) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	_, cluster, ok := g.appHost(hello.ServerName)
	if !ok {
		return g.authority.serverCertificate(hello)
	}
	c := &g.appCertificates
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.AppsCertificate != "" {
		if err := c.load(g.AppsCertificate, g.AppsKey, g.Now()); err != nil && c.pair == nil {
			return nil, err
		} else if err != nil {
			g.Log.Error("the certificate of the apps domain is not taken up anew", "err", err)
		}
		return c.pair, nil
	}
	if held := c.own[cluster]; held != nil && g.Now().Before(held.Leaf.NotAfter.Add(-serverLife/3)) {
		return held, nil
	}
	made, err := g.authority.certifyServer([]string{"*." + cluster + "." + g.AppsDomain})
	if err != nil {
		return nil, err
	}
	if c.own == nil || len(c.own) >= maxAppCertificates {
		c.own = map[string]*tls.Certificate{}
	}
	c.own[cluster] = made
	return made, nil
}

// load reads a certificate and its key, if they have changed. c.mu is held.
func (c *appCertificates) load(certificate, key string, now time.Time) error {
	if c.pair != nil && now.Sub(c.looked) < pairLooked {
		return nil
	}
	var stamp [2]time.Time
	for i, path := range []string{certificate, key} {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("cannot read the certificate of the apps domain: %w", err)
		}
		stamp[i] = info.ModTime()
	}
	c.looked = now
	if c.pair != nil && stamp == c.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("cannot use the certificate of the apps domain: %w", err)
	}
	c.pair, c.stamp = &pair, stamp
	return nil
}

// checkApps refuses names of the gateway that would be those of projects, and a certificate that cannot be read.
func (g *Gateway) checkApps() error {
	for _, name := range g.Advertise {
		if project, cluster, ok := g.appHost(name); ok {
			return reason.Newf(reason.Usage, "--advertise %s would be the project %s of the cluster %s in the domain %s", name, project, cluster, g.AppsDomain)
		}
	}
	if g.AppsCertificate == "" {
		return nil
	}
	c := &g.appCertificates
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(g.AppsCertificate, g.AppsKey, g.Now()); err != nil {
		return reason.New(reason.Usage, "--apps-certificate", err)
	}
	return nil
}
