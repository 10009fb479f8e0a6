package transport

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// stagger is how long a way has for itself before the next one starts beside it: longer than a handshake across the world takes
	// (three round trips of 150 ms), and too short for people to notice.
	stagger = 500 * time.Millisecond
	// patience is the same for a way of which more is known. The last one through a proxy has it before the first one past it: who has
	// set a proxy wants it used, so what is past it is for where the proxy does not lead to the gateway at all. And one that has led to
	// the gateway before has it: it is slow because the gateway is, and thousands of agents that come back after an outage must not
	// make it shake hands with each of them twice.
	patience = 5 * time.Second
	// breaks is how often a way must break in a row to be tried last: once is what a gateway does that is being stopped.
	breaks = 2
	// retryBetter is after which time a dial tries the ways that are better than the one that worked the last time again, and one
	// that broke in its turn.
	retryBetter = 15 * time.Minute
)

// maxHistory is how many ways are kept in mind: gateways come and go.
const maxHistory = 64

// way is one of the ways to a gateway.
type way struct {
	webSocket bool
	proxy     *url.URL      // nil: directly
	wait      time.Duration // how long the one before it is alone
}

// String tells the way for people, without user and password of the proxy.
func (w way) String() string {
	name := "TLS"
	if w.webSocket {
		name = "WebSocket"
	}
	return w.to(name)
}

// to tells what is reached by the way, without its protocol.
func (w way) to(what string) string {
	if w.proxy == nil {
		return what
	}
	return what + " through " + proxy.ShownURL(w.proxy)
}

// ways returns the ways to a gateway, the best first. TLS itself comes before a WebSocket: it takes less. A gateway on the public
// internet is reached through the proxy if there is one for it, and only then past it. One in a private network is reached directly
// at first, as proxies lead out of those and not around in them.
func (d *Dialer) ways(address string) ([]way, error) {
	through, err := d.Proxy.Function()(&url.URL{Scheme: "https", Host: address})
	if err != nil {
		return nil, reason.New(reason.Usage, err.Error(), nil).WithFix("mend the proxy in config.yaml, PIPEOPS_PROXY or HTTPS_PROXY, or give none")
	}
	direct := []way{{wait: stagger}, {webSocket: true, wait: stagger}}
	if through == nil {
		return direct, nil
	}
	proxied := []way{{proxy: through, wait: stagger}, {webSocket: true, proxy: through, wait: stagger}}
	if proxy.Near(address) != "" {
		return append(direct, proxied...), nil
	}
	direct[0].wait = patience
	return append(proxied, direct...), nil
}

// routes returns the ways that differ by more than their protocol.
func routes(ways []way) []way {
	return slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.webSocket })
}

// ordered puts the way that worked the last time first, and those that broke a short while ago last. Where the better ways have not
// been tried for a while, the best of them has its stagger first. fresh is true if it has.
func (d *Dialer) ordered(address string, ways []way) (list []way, fresh bool) {
	now := d.now()
	best, tried := d.recall(address)
	list, fresh = slices.Clone(ways), true
	if i := slices.IndexFunc(list, func(w way) bool { return w.String() == best }); i > 0 {
		last := list[i]
		last.wait = stagger
		fresh = now.Sub(tried) >= retryBetter || now.Before(tried)
		list = slices.Delete(list, i, i+1)
		if fresh {
			list = slices.Insert(list, 1, last)
		} else {
			list = slices.Insert(list, 0, last)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortStableFunc(list, func(a, b way) int {
		return cmp.Compare(d.history[address+" "+a.String()].rank(now), d.history[address+" "+b.String()].rank(now))
	})
	if h := d.history[address+" "+list[0].String()]; h.good || !fresh {
		list[1].wait = patience
	}
	return list, fresh
}

// history is what became of a way in the life of this process.
type history struct {
	good   bool // it has led to the gateway
	broken int  // how often it broke since
	when   time.Time
}

// rank is 1 for a way that breaks.
func (h history) rank(now time.Time) int {
	if h.broken >= breaks && now.Sub(h.when) < retryBetter && !now.Before(h.when) {
		return 1
	}
	return 0
}

// proved notes a way that has led to the gateway.
func (d *Dialer) proved(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note(c, history{good: true})
	ways, err := d.ways(c.address)
	if err == nil {
		err = d.remember(c.address, c.way.String(), ways[0].String() == c.way.String(), c.fresh)
	}
	if err != nil {
		d.log().Warn("it is not remembered by which way the gateway was reached", "err", err)
	}
}

// broke notes a way whose connection led nowhere.
func (d *Dialer) broke(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.history[c.address+" "+c.way.String()]
	h.broken++
	h.when = d.now()
	d.note(c, h)
}

func (d *Dialer) note(c *Conn, h history) {
	if d.history == nil || len(d.history) > maxHistory {
		d.history = map[string]history{}
	}
	d.history[c.address+" "+c.way.String()] = h
}
