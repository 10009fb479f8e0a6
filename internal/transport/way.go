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
	// patience is the same for the last way through a proxy, before the first one past it: who has set a proxy wants it used, so what
	// is past it is for where the proxy does not lead to the gateway at all.
	patience = 5 * time.Second
	// retryBetter is after which time a dial tries the ways that are better than the one that worked the last time again, and one
	// that broke in its turn.
	retryBetter = 15 * time.Minute
)

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
	slices.SortStableFunc(list, func(a, b way) int { return cmp.Compare(d.breakage(address, a, now), d.breakage(address, b, now)) })
	return list, fresh
}

// breakage is 1 for a way that broke a short while ago.
func (d *Dialer) breakage(address string, w way, now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.broken[address+" "+w.String()]; ok && now.Sub(at) < retryBetter && !now.Before(at) {
		return 1
	}
	return 0
}

// proved notes a way that has led to the gateway.
func (d *Dialer) proved(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.broken, c.address+" "+c.way.String())
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
	if d.broken == nil {
		d.broken = map[string]time.Time{}
	}
	d.broken[c.address+" "+c.way.String()] = d.now()
}
