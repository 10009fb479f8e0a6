package gateway

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// beatEvery is how often a gateway says that it lives.
	beatEvery = time.Second
	// beatLost is how long the count of another gateway may stand still before its sessions are taken for lost: ten beats, so that
	// neither a slow store nor a busy machine costs a gateway its sessions.
	beatLost = 10 * time.Second
	// signalEvery is how often a gateway looks what others have changed.
	signalEvery = 500 * time.Millisecond
	// storeTimeout bounds what a gateway asks of the store for its own sake.
	storeTimeout = 10 * time.Second
	// betweenTimeout bounds how long a connection to another gateway may take: they are near each other.
	betweenTimeout = 3 * time.Second
	// tellers is how many agents are told news at a time.
	tellers = 64
	// permitLife is that of a permit, by which a gateway asks for its own administrator; half of it is used.
	permitLife = 10 * time.Minute
)

// fleet is what a gateway knows of those that share its store. One of its own has an id, and is otherwise alone.
type fleet struct {
	gateway   *Gateway
	id        string
	address   string   // at which other gateways reach this one
	announced []string // at which agents do
	serials   atomic.Int64
	rounds    atomic.Int64 // of news
	transport *http.Transport
	stopping  context.Context // ends when drain is called
	stop      context.CancelFunc

	mu       sync.Mutex
	draining bool
	others   map[string]other // by id
	permits  map[string]permit
}

// other is another gateway as it was seen last.
type other struct {
	store.Gateway
	moved time.Time // when its count was last seen to move
}

type permit struct {
	id   string
	ends time.Time
}

func newFleet(g *Gateway) *fleet {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	f := &fleet{gateway: g, id: hex.EncodeToString(b[:]), others: map[string]other{}, permits: map[string]permit{}}
	f.stopping, f.stop = context.WithCancel(context.Background())
	f.transport = &http.Transport{
		DialTLSContext:         f.dial,
		DisableCompression:     true, // bodies pass through as they are
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute, // shorter than the server's, so that the asker closes first
		MaxResponseHeaderBytes: wire.MaxHeader,
	}
	return f
}

// locate finds out where this gateway is reached, when it has an address to listen on.
func (f *fleet) locate(g *Gateway) {
	_, port, _ := net.SplitHostPort(g.address.String())
	list := g.Announce
	if len(list) == 0 {
		list = g.Advertise
	}
	f.announced = nil
	for _, a := range list {
		if !wire.ValidAddress(a) {
			a = net.JoinHostPort(strings.Trim(a, "[]"), port)
		}
		f.announced = append(f.announced, a)
	}
	if len(f.announced) == 0 {
		f.announced = []string{strings.TrimPrefix(g.url(), "https://")}
	}
	if f.address = g.Between; f.address == "" {
		f.address = f.announced[0]
	}
}

// dial connects to another gateway, which must be one of the CA.
func (f *fleet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, betweenTimeout)
	defer cancel()
	pool := x509.NewCertPool()
	pool.AddCert(f.gateway.authority.cert)
	dialer := tls.Dialer{Config: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: wire.GatewayName, NextProtos: []string{wire.ALPNGateway}, Time: f.gateway.Now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return f.gateway.authority.asGateway(f.id)
		},
	}}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotTaken, err)
	}
	return conn, nil
}

// join enters the gateway, and returns the signal after which it must hear of all.
func (f *fleet) join(ctx context.Context) (heard int64, err error) {
	if !f.gateway.store.Shared() {
		return 0, nil
	}
	if heard, err = f.hear(ctx, -1); err == nil {
		err = f.beat(ctx)
	}
	return heard, err
}

// run takes part in the fleet until ctx ends.
func (f *fleet) run(ctx context.Context, last int64) {
	if !f.gateway.store.Shared() {
		return
	}
	beats, looks := time.NewTicker(beatEvery), time.NewTicker(signalEvery)
	defer beats.Stop()
	defer looks.Stop()
	for failing := false; ; {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
			err = f.beat(ctx)
		case <-looks.C:
			last, err = f.hear(ctx, last)
		}
		if err != nil && ctx.Err() == nil && !failing {
			f.gateway.Log.Error("the store that gateways share does not answer", "err", err)
		}
		if failing && err == nil {
			f.gateway.Log.Info("the store that gateways share answers again")
		}
		failing = err != nil
	}
}

// beat says that this gateway lives, and looks which others do.
func (f *fleet) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	g := f.gateway
	f.mu.Lock()
	draining := f.draining
	f.mu.Unlock()
	fresh, err := g.store.Beat(ctx, store.Gateway{ID: f.id, Address: f.address, Announced: f.announced, Draining: draining})
	if err != nil {
		return err
	}
	if fresh {
		if err := f.enterAll(ctx); err != nil {
			return err
		}
	}
	list, err := g.store.Gateways(ctx)
	if err != nil {
		return err
	}
	lost, gone, news := f.saw(list, time.Now())
	if news {
		f.tell()
	}
	for _, o := range lost {
		if expired, err := g.store.Expire(ctx, o.ID, o.Beat); err != nil {
			return err
		} else if expired {
			g.Log.Warn("another gateway is lost", "gateway", o.ID, "address", o.Address, "silent", beatLost)
			gone = true
		}
	}
	if gone { // its sessions are, too
		for id := range g.sessions.clusters() {
			g.leads.look(id)
		}
		return g.store.DropSignals(ctx)
	}
	return nil
}

// saw takes a list of the gateways in, and returns those whose count has stood still for too long, whether any has gone, and whether
// there is anything that agents should know.
func (f *fleet) saw(list []store.Gateway, now time.Time) (lost []other, gone, news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.others
	f.others = map[string]other{}
	for _, s := range list {
		o := other{s, now}
		old, known := before[s.ID]
		if known && old.Beat == s.Beat {
			o.moved = old.moved
		}
		news = news || !known || old.Draining != s.Draining
		delete(before, s.ID)
		f.others[s.ID] = o
		if s.ID != f.id && now.Sub(o.moved) >= beatLost {
			lost = append(lost, o)
		}
	}
	gone = len(before) > 0
	return lost, gone, news || gone
}

// tell tells the agents which gateways there are now. It does not wait, and what has not been told yet is not told any more if there is
// something newer.
func (f *fleet) tell() {
	round, news := f.rounds.Add(1), wire.News{Gateways: f.announce()}
	if len(news.Gateways) == 0 {
		return
	}
	f.gateway.work.run(func() {
		var told errgroup.Group
		told.SetLimit(tellers)
		for _, p := range f.gateway.sessions.all() {
			if f.rounds.Load() != round {
				break
			}
			told.Go(func() error {
				p.tell(context.Background(), wire.PathAgentNews, news, goodbyeTimeout)
				return nil
			})
		}
		_ = told.Wait() // none of them fails
	})
}

// enterAll enters all sessions of this gateway.
func (f *fleet) enterAll(ctx context.Context) error {
	var list []store.Session
	for _, p := range f.gateway.sessions.all() {
		list = append(list, f.entry(p))
	}
	return f.gateway.store.PutSessions(ctx, list...)
}

func (f *fleet) entry(p *peer) store.Session {
	return store.Session{
		ClusterID: p.id, Machine: p.machine, Gateway: f.id, Serial: p.serial, Epoch: p.epoch, Standby: p.isStandby(), Since: p.since, Remote: p.remote,
	}
}

// put enters a session, so that other gateways find it; drop forgets it. Neither is worth a session if the store fails.
func (f *fleet) put(ctx context.Context, p *peer) {
	if !f.gateway.store.Shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := f.gateway.store.PutSessions(ctx, f.entry(p)); err != nil {
		f.gateway.Log.Error("other gateways do not know of a session", "cluster", p.name, "machine", p.machine, "err", err)
	}
}

func (f *fleet) drop(ctx context.Context, p *peer) {
	if !f.gateway.store.Shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := f.gateway.store.DropSession(ctx, p.machine, f.id, p.serial); err != nil {
		f.gateway.Log.Error("other gateways take a session for up", "cluster", p.name, "machine", p.machine, "err", err)
	}
}

// hear acts on what others have changed since a signal, and returns the last one.
func (f *fleet) hear(ctx context.Context, after int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	g := f.gateway
	list, last, missed, err := g.store.Signals(ctx, after)
	if err != nil {
		return after, err
	}
	clusters := map[string]bool{}
	for _, id := range list {
		clusters[id] = true
	}
	if missed {
		clusters = g.sessions.clusters()
	}
	for id := range clusters {
		g.review(ctx, id)
	}
	return last, nil
}

// announce returns where agents may connect: the gateways that are not about to stop.
func (f *fleet) announce() []wire.GatewayAddress {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []wire.GatewayAddress
	if _, there := f.others[f.id]; !there && !f.draining {
		list = append(list, wire.GatewayAddress{ID: f.id, Addresses: f.announced})
	}
	for _, id := range slices.Sorted(maps.Keys(f.others)) {
		o := f.others[id]
		if o.Draining || id == f.id && f.draining || time.Since(o.moved) > beatLost/2 {
			continue
		}
		list = append(list, wire.GatewayAddress{ID: id, Addresses: o.Announced})
	}
	return wire.Known(list)
}

// drain makes this gateway one that agents are not sent to.
func (f *fleet) drain(ctx context.Context) {
	f.mu.Lock()
	f.draining = true
	f.mu.Unlock()
	f.stop()
	if f.gateway.store.Shared() {
		if err := f.beat(ctx); err != nil {
			f.gateway.Log.Error("other gateways are not told that this one stops", "err", err)
		}
	}
}

func (f *fleet) isDraining() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.draining
}

// leave takes this gateway out of the fleet.
func (f *fleet) leave(ctx context.Context) {
	if !f.gateway.store.Shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := f.gateway.store.Retire(ctx, f.id); err != nil {
		f.gateway.Log.Error("other gateways take this one for running", "err", err)
	}
}

// permit returns the granter of what the gateway asks for its own administrator at a cluster.
func (f *fleet) permit(clusterID string) granter {
	return func(ctx context.Context) (string, error) {
		now := f.gateway.Now()
		f.mu.Lock()
		held, ok := f.permits[clusterID]
		f.mu.Unlock()
		if ok && now.Before(held.ends) {
			return held.id, nil
		}
		admin := administrator()
		id, err := f.gateway.store.Permit(ctx, admin.User, admin.Groups, clusterID, permitLife)
		if err != nil {
			return "", err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for id, p := range f.permits {
			if !now.Before(p.ends) {
				delete(f.permits, id)
			}
		}
		f.permits[clusterID] = permit{id, now.Add(permitLife / 2)}
		return id, nil
	}
}
