package tunnel

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// helloEvery is how often the gateway is asked which other gateways there are, paced, give or take a tenth. Of those that come or go it
	// tells by itself.
	helloEvery = time.Minute
	// lastWord bounds how long the gateway may take to say why it has refused a session.
	lastWord = 2 * time.Second
)

// line is one connection to a gateway, from its dial to its end. It runs in a goroutine of its own and tells the tunnel of everything
// by events; what is below the mark is the tunnel's own, and nobody else's.
type line struct {
	address  string
	replaces *line // whose place it takes, nil if it is a further one
	orders   chan order
	cancel   context.CancelFunc

	// the tunnel's
	up       bool
	gateway  string // id of the run of the gateway at the other end, "" if that knows of no others
	client   *Client
	by       string        // which way the connection takes, for people
	began    time.Time     // of the dial
	rotate   time.Time     // when it is to be replaced
	told     *wire.Goodbye // by the gateway, which is about to end it
	retired  bool          // it gets no new requests, and lives on for those that it has
	standby  bool          // the gateway was told that the agent works on another line
	replaced bool          // a line that replaces it is on its way
	work     *work
}

// order is what the tunnel wants of a line.
type order int

const (
	beStandby order = iota
	bePrimary
	takePlace // of the session that this process has at the gateway
	handOver  // take no more requests
)

// event is what a line tells the tunnel. Exactly one of its parts is set.
type event struct {
	line    *line
	welcome *wire.Welcome // the gateway has answered; the first means that the session is up
	client  *Client       // with the first
	by      string        // with the first: the way on which it has come about
	bye     *wire.Goodbye
	ended   error
}

// start dials an address in a goroutine of its own.
func (t *tunnel) start(ctx context.Context, address string, replaces *line) {
	ctx, cancel := context.WithCancel(ctx)
	l := &line{address: address, replaces: replaces, orders: make(chan order, 8), cancel: cancel, began: time.Now()}
	if replaces != nil {
		replaces.replaced = true
	}
	t.lines = append(t.lines, l)
	standby := t.primary != nil && (replaces == nil || replaces != t.primary)
	l.standby = standby
	hello := wire.Hello{Version: wire.Version, Instance: t.instance, Epoch: t.epoch, Standby: standby}
	t.running.Go(func() {
		defer cancel()
		err := t.session(ctx, l, hello)
		t.events <- event{line: l, ended: err}
	})
}

// session dials, and returns why the session that came of it ended.
func (t *tunnel) session(ctx context.Context, l *line, hello wire.Hello) (ended error) {
	var up *session.Session
	defer func() {
		if t.OnDown != nil && !errors.Is(ended, errRenewed) {
			t.OnDown(up, codeOf(ended))
		}
	}()
	conn, err := t.dial(ctx, l.address)
	if err != nil {
		return err
	}
	start := session.Client
	if conn.Relayed() {
		start = session.Relayed
	}
	s := start(conn, t.Log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bye, news, calls := make(chan wire.Goodbye, 1), make(chan wire.News, 1), make(chan struct{}, 1)
	s.OnLarge(func() { call(calls) })
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, t.handler(bye, news, calls)) }()
	client := &Client{http: &http.Client{Transport: s.Transport()}}

	// With TLS 1.3 the gateway's verdict on the certificate comes after the handshake: only an answer means yes.
	welcome, err := client.hello(ctx, hello)
	if err != nil {
		if reason.Is(err, reason.CertificateExpired) {
			err = t.Identity.Renew(ctx, client.Renew)
			if err == nil {
				conn.Good()
				t.Log.Info("certificate renewed", "expires", t.Identity.Expires())
				err = errRenewed
			}
			s.Close(nil)
			t.Log.Debug("session closed after renewal", "cause", <-served)
			return err
		}
		why, spoke := t.refused(s, l, err, bye, served)
		if spoke { // the way is a good one, whatever it led to
			conn.Good()
		}
		return why
	}
	conn.Good()
	if t.OnUp != nil {
		t.OnUp(s, Way{l.address, conn.Kind(), conn.Proxy()})
	}
	up = s
	paced := func(w wire.Welcome) {
		s.SetKeepAlive(w.KeepAliveTime())
		client.every.Store(int64(w.KeepAliveTime()))
	}
	paced(welcome)
	t.running.Go(func() { t.seconds(ctx, l, s, welcome, calls) })
	t.events <- event{line: l, welcome: &welcome, client: client, by: conn.Way()}

	var said *wire.Goodbye
	again := time.NewTimer(spread(client.Paced(helloEvery)))
	defer again.Stop()
	hail := func() {
		if welcome, err := client.hello(ctx, hello); err == nil {
			paced(welcome)
			t.events <- event{line: l, welcome: &welcome}
		} else if ctx.Err() == nil {
			t.Log.Debug("gateway not greeted", "gateway", l.address, "err", err)
		}
		hello.Replaces = false
		again.Reset(spread(client.Paced(helloEvery)))
	}
	for {
		select {
		case err := <-served:
			select {
			case e := <-bye: // both at a time: the word explains the end
				said = &e
			default:
			}
			if said != nil {
				return &farewell{t.why(l.address, err, &said.Error), *said}
			}
			return t.why(l.address, err, nil)
		case e := <-bye:
			said = &e
			t.events <- event{line: l, bye: &e} // the gateway closes the session when what runs on it is done
		case n := <-news:
			t.events <- event{line: l, welcome: &wire.Welcome{Gateways: n.Gateways}}
		case o := <-l.orders:
			switch o {
			case beStandby, bePrimary:
				hello.Standby = o == beStandby
				hail()
			case takePlace:
				hello.Replaces = true
				hail()
			case handOver:
				if err := client.handover(ctx); err != nil {
					t.Log.Debug("session not handed over", "gateway", l.address, "err", err)
					s.Close(nil) // an old gateway; or it is gone already
				}
			}
		case <-again.C:
			hail()
		}
	}
}

// refused returns why a session did not come about, and whether the gateway has said so: when it said goodbye, else by its answer.
func (t *tunnel) refused(s *session.Session, l *line, answer error, bye <-chan wire.Goodbye, served <-chan error) (why error, spoke bool) {
	timer := time.NewTimer(lastWord)
	defer timer.Stop()
	var said *wire.Goodbye
	var end error
	select {
	case e := <-bye:
		said = &e
	case end = <-served:
	case <-timer.C:
	}
	s.Close(nil)
	if end == nil {
		end = <-served
	}
	if said == nil {
		select {
		case e := <-bye:
			said = &e
		default:
		}
	}
	var lost *reason.Error
	switch {
	case said != nil:
		return &farewell{t.why(l.address, end, &said.Error), *said}, true
	case errors.As(answer, &lost) && lost.Code != reason.SessionLost:
		return answer, true
	}
	return t.why(l.address, end, nil), false
}

// farewell is the end of a session of which the gateway has told.
type farewell struct {
	error
	bye wire.Goodbye
}

func (f *farewell) Unwrap() error { return f.error }

// spread returns d, give or take a tenth.
func spread(d time.Duration) time.Duration { return d*9/10 + backoff.Draw(d/5) }
