// Package gateway is the control plane's end of the tunnels (it is not Kubernetes' Gateway API). On one TLS port it takes
// the tunnels of agents, enrols machines, and gives users the Kubernetes API and the project pages of the clusters that
// are connected. What it must remember is in [store]; who is connected it knows from its sessions only.
package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/carry"
	"github.com/pipeopshq/pipeops-agent/internal/cork"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/internal/wsconn"
)

// DefaultData is where a gateway keeps its state if nothing else is said.
const DefaultData = "/var/lib/pipeops-gateway"

// Options say how a gateway runs.
type Options struct {
	Data      string   // folder of its state, made if it is not there
	Advertise []string // host names and addresses, with or without a port, by which it is reached; the first is written into kubeconfigs
	Log       *slog.Logger
	// AppsDomain is the domain below which projects have host names of their own, NAME.CLUSTER.<domain>, in lower case; "" means none.
	AppsDomain string
	// AppsCertificate and AppsKey are files in PEM of a certificate for these names; "" means that the gateway's own CA certifies them.
	AppsCertificate, AppsKey string

	Store     string           // postgres://... that several gateways share; "" means a file in Data
	Announce  []string         // host:port at which agents reach this gateway and no other; none means Advertise
	Between   string           // host:port at which other gateways reach this one; "" means the first of Announce
	LameDuck  time.Duration    // how long the gateway goes on as before after it was told to stop, while /readyz fails
	Drain     time.Duration    // how long requests may go on after that; 0 means 10 s
	AdmitRate int              // how many sessions are let in each second, twice as many at once; 0 means 500
	Handover  time.Duration    // for how long a machine that leads its cluster may be away before another one does; 0 means 10 s
	Limits    Limits           // of what users may have open at a time
	Metrics   string           // address, host:port, at which metrics are to be read besides the administrators' socket; "" is none
	Audit     string           // how the audit log is kept: AuditOn, which "" means, AuditRequired or AuditOff
	Now       func() time.Time // nil means time.Now
}

// Gateway is an open gateway.
type Gateway struct {
	Options
	store     *store.Store
	authority *authority
	audit     *audit.Log
	anchors   audit.Anchors // heads of the logs of agents
	strangers strangers
	usage     usage
	metrics   *metric.Set
	requests  metric.RequestCounter
	sessions  registry
	fleet     *fleet
	admission admission
	leads     leads
	changes   bell
	work      gate // sessions, and goodbyes on their way
	buffers   session.Buffers
	messages  wsconn.Buffers
	datagrams carry.Budget

	appCertificates appCertificates
	address         net.Addr // of the listener; set by Serve before anything reads it
}

// Open opens the state of a gateway and makes its CA at the first start. Close closes it.
func Open(ctx context.Context, o Options) (*Gateway, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Drain == 0 {
		o.Drain = 10 * time.Second
	}
	if o.AdmitRate <= 0 {
		o.AdmitRate = admitRate
	}
	if o.Handover == 0 {
		o.Handover = 10 * time.Second
	}
	o.Limits = o.Limits.filled()
	if o.Data == "" {
		o.Data = DefaultData
	}
	s, err := openStore(ctx, o)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range append(o.Advertise, ownNames()...) {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = strings.Trim(a, "[]")
		}
		names = append(names, host)
	}
	a, err := commonAuthority(ctx, s, o, names)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	g := &Gateway{Options: o, store: s, authority: a}
	g.datagrams.Most = maxWaitingDatagrams
	if err := g.checkApps(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if g.audit, err = openAudit(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	g.leads.gateway = g
	g.fleet = newFleet(g)
	g.newMetrics()
	return g, nil
}

func openStore(ctx context.Context, o Options) (*store.Store, error) {
	if o.Store == "" {
		return store.Open(ctx, o.Data, o.Now)
	}
	return store.OpenShared(ctx, o.Data, o.Store, o.Now)
}

// commonAuthority opens the CA, which must be that of the other gateways if there are any.
func commonAuthority(ctx context.Context, s *store.Store, o Options, names []string) (*authority, error) {
	const name = "ca"
	if !s.Shared() {
		return openAuthority(o.Data, names, o.Now)
	}
	agreed, err := s.Agree(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{caFile, caKeyFile} { // one that is made anew would be another one
		path := filepath.Join(o.Data, file)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && agreed != nil {
			return nil, reason.Newf(reason.FleetDiffers, "there is no %s", path)
		}
	}
	a, err := openAuthority(o.Data, names, o.Now)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(a.cert.Raw)
	agreed, err = s.Agree(ctx, name, digest[:])
	if err == nil && !bytes.Equal(agreed, digest[:]) {
		err = reason.Newf(reason.FleetDiffers, "%s is not the CA of the gateways that share the store", filepath.Join(o.Data, caFile))
	}
	return a, err
}

// Close closes the state.
func (g *Gateway) Close() error { return errors.Join(g.store.Close(), g.audit.Close()) }

// ownNames returns the names and addresses of this machine that others may use.
func ownNames() []string {
	var names []string
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			names = append(names, ip.IP.String())
		}
	}
	return names
}

// Serve serves on the listener, and the administrators' socket in the data folder, until ctx ends; then it tells the
// agents, lets requests end for as long as Drain allows, and returns nil. ready, if not nil, is called when both answer.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener, ready func()) error {
	g.address = listener.Addr()
	g.fleet.locate(g)
	sessions, endSessions := context.WithCancel(context.WithoutCancel(ctx))
	defer endSessions()
	others := newHanded(listener.Addr())
	server := g.server(g.parting(g.https(sessions).ServeHTTP))
	server.Protocols = new(http.Protocols)
	server.TLSConfig = &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   g.certificate,
		ClientAuth:       tls.RequestClientCert,
		ClientCAs:        g.clientCAs(),
		VerifyConnection: g.authority.verify,
		NextProtos:       []string{wire.ALPN, wire.ALPNGateway, "h2", "http/1.1"},
	}
	server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		wire.ALPN:        func(_ *http.Server, conn *tls.Conn, _ http.Handler) { g.tunnel(sessions, carrierOf(conn)) },
		wire.ALPNGateway: func(_ *http.Server, conn *tls.Conn, _ http.Handler) { others.hand(sessions, conn) },
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)

	stopMetrics, err := g.serveMetrics(ctx)
	if err != nil {
		return err
	}
	defer stopMetrics()
	admin, err := g.listenAdmin(ctx)
	if err != nil {
		return err
	}
	adminServer := &http.Server{Handler: g.auditAdmin(g.admin()), ReadHeaderTimeout: 10 * time.Second, ErrorLog: server.ErrorLog}
	betweenServer := g.server(g.parting(g.between))
	heard, err := g.fleet.join(ctx) // before anybody is told of it
	if err != nil {
		return errors.Join(err, admin.Close())
	}
	failed := make(chan error, 3)
	var serving, taking sync.WaitGroup
	part, leave := context.WithCancel(sessions)
	defer leave()
	taking.Go(func() { g.fleet.run(part, heard) })
	serving.Go(func() { failed <- betweenServer.Serve(others) })
	serving.Go(func() { failed <- server.ServeTLS(cork.Listener{Listener: listener}, "", "") })
	serving.Go(func() { failed <- adminServer.Serve(admin) })
	g.Log.Info("gateway serving", "address", listener.Addr().String(), "url", g.url(), "data", g.Data)
	if ready != nil {
		ready()
	}
	var failure error
	select {
	case <-ctx.Done():
		g.Log.Info("gateway stopping", "lame_duck", g.LameDuck, "drain", g.Drain)
	case failure = <-failed:
	}
	if failure != nil {
		g.LameDuck = 0
	}
	g.stop(context.WithoutCancel(ctx), func() {
		leave()
		taking.Wait()
		g.fleet.leave(ctx)
	}, server, betweenServer)
	endSessions()
	_ = betweenServer.Close()
	_ = others.Close()
	_ = server.Close()
	_ = adminServer.Close()
	serving.Wait()
	g.leads.stop()
	g.work.close()
	g.fleet.transport.CloseIdleConnections()
	if failure != nil {
		return fmt.Errorf("cannot serve: %w", failure)
	}
	return nil
}

// server has the limits of all that listens to others. It has no write timeout: logs and watches last for hours.
func (g *Gateway) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    wire.MaxHeader,
		ErrorLog:          slog.NewLogLogger(g.Log.Handler(), slog.LevelDebug),
	}
}

func (g *Gateway) clientCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(g.authority.cert)
	return pool
}

// url returns the base URL that is written into kubeconfigs.
func (g *Gateway) url() string {
	_, port, err := net.SplitHostPort(g.address.String())
	if err != nil {
		return ""
	}
	host := "127.0.0.1"
	if names := ownNames(); len(names) > 1 {
		host = names[1] // the first address; the name may be known to nobody
	}
	if len(g.Advertise) > 0 {
		host = g.Advertise[0]
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, port = h, p
		}
	}
	return "https://" + net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// https is what the port answers to people, kubectl and machines that enrol. The tunnels among it last as long as sessions does.
func (g *Gateway) https(sessions context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathTunnel, func(w http.ResponseWriter, r *http.Request) { g.websocket(sessions, w, r) })
	mux.HandleFunc("POST "+wire.PathEnroll, hurried(g.enroll))
	mux.HandleFunc("POST "+wire.PathJoin, hurried(g.join))
	mux.HandleFunc("POST "+wire.PathEvents, hurried(g.events))
	mux.HandleFunc("POST "+wire.PathLeave, hurried(g.leave))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if g.fleet.isDraining() {
			refusal.Write(w, http.StatusServiceUnavailable, stopped())
			return
		}
		err := g.store.Ping(r.Context())
		if failure := g.audit.Failure(); err == nil && failure != nil && g.audit.Required() {
			err = reason.New(reason.AuditUnavailable, failure.Error(), nil)
		}
		if err != nil {
			g.fail(w, r, err)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	})
	kube := g.audited(wire.PathClusters, metric.KindKube, audit.OfKube, g.kube)
	page := g.audited(wire.PathProjects, metric.KindPage, audit.OfPage, g.page)
	connect := g.audited(wire.PathConnect, metric.KindConnect, audit.OfConnect, g.connect)
	return tellCut(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if project, cluster, ours := g.appHost(r.Host); ours { // and nothing of the gateway's own is answered there
			e := audit.OfPage(r, "/"+project+r.URL.EscapedPath())
			g.recorded(w, r, cluster, metric.KindPage, e, func(w http.ResponseWriter, r *http.Request) { g.app(w, r, project, cluster) })
			return
		}
		switch { // before the ServeMux, which would redirect paths that it thinks unclean
		case strings.HasPrefix(path, wire.PathClusters+"/"):
			kube(w, r)
		case strings.HasPrefix(path, wire.PathProjects+"/"):
			page(w, r)
		case strings.HasPrefix(path, wire.PathConnect+"/"):
			connect(w, r)
		case !strings.HasPrefix(path, "/v1/") && asUser(r):
			g.recorded(w, r, "", metric.KindKube, audit.OfKube(r, path), g.kube)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
}

// fail answers with err and logs what the other end must not see.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	var known *reason.Error
	if !errors.As(err, &known) {
		g.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		refusal.Write(w, http.StatusInternalServerError, err)
		return
	}
	status := http.StatusForbidden
	switch known.Code {
	case reason.Usage, reason.ProjectInvalid:
		status = http.StatusBadRequest
	case reason.ClusterUnknown, reason.ProjectUnknown, reason.NodeUnknown, reason.MachineUnknown:
		status = http.StatusNotFound
	case reason.ClusterNameTaken, reason.JoinNameTaken:
		status = http.StatusConflict
	case reason.UserRefused:
		status = http.StatusUnauthorized
	case reason.ClusterNotConnected, reason.JoinUnavailable, reason.GatewayBusy, reason.GatewayStopping, reason.AuditUnavailable:
		status = http.StatusServiceUnavailable
	}
	g.Log.Info("request refused", "method", r.Method, "path", r.URL.Path, "code", known.Code, "evidence", known.Evidence)
	refusal.Write(w, status, err)
}

// read decodes the body of a request, of at most wire.MaxDocument bytes.
func read(r *http.Request, into any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, wire.MaxDocument)).Decode(into); err != nil {
		return reason.New(reason.Usage, "the body of the request is not what it should be", err)
	}
	return nil
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // the other end is gone, or has it
}

// AdminSocket returns the path of the administrators' socket of a gateway with the given data folder.
func AdminSocket(data string) string { return filepath.Join(data, "admin.sock") }
