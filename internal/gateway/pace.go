package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/mux"
)

// The limits on bytes, as metrics name them.
const (
	byUser  = "user"
	byAgent = "agent"
)

// LeastBytes is the least limit on bytes that is of use, in bytes per second: two frames of a tunnel.
const LeastBytes = 2 * mux.Chunk

// bulkAfter is how much a request carries, both ways together, before its bytes go after those of others: as much as a stream says before it
// goes on on the second connection of a tunnel (docs/protocol.md, section 2.1).
const bulkAfter = 1 << 20

// sweepEvery is how often budgets are forgotten that nobody has used up.
const sweepEvery = time.Second

// budget is how many bytes per second one may have in all that is open. A second's worth may come at once. Requests that carry much take
// turns, and leave a tenth of that for those that do not, which so hardly ever wait.
type budget struct {
	*rate.Limiter
	turn chan struct{} // has one while a request that carries much waits for its bytes
	open int           // requests
}

// missing is how long it takes until a request that carries much may have n bytes.
func (b *budget) missing(now time.Time, n int) time.Duration {
	lacks := float64(n) + float64(b.Burst())/10 - b.TokensAt(now)
	return time.Duration(max(0, lacks) / float64(b.Limit()) * float64(time.Second))
}

// budgets are those of all users, or of all machines. The zero value has none.
type budgets[K comparable] struct {
	of    map[K]*budget
	swept time.Time
}

// take returns the budget of one. It is the one that was there before: who ends a request and makes the next has no new one.
func (b *budgets[K]) take(key K, most int, now time.Time) *budget {
	if now.Sub(b.swept) >= sweepEvery {
		b.swept = now
		for k, held := range b.of {
			if held.open == 0 && held.TokensAt(now) >= float64(held.Burst()) {
				delete(b.of, k)
			}
		}
	}
	if b.of == nil {
		b.of = map[K]*budget{}
	}
	held := b.of[key]
	if held == nil {
		held = &budget{Limiter: rate.NewLimiter(rate.Limit(most), most), turn: make(chan struct{}, 1)}
		b.of[key] = held
	}
	held.open++
	return held
}

// pace slows the bytes of one request, both ways together, down to what its user and its machine may have.
type pace struct {
	budgets map[string]*budget // by limit
	metrics *metric.Set
	done    <-chan struct{} // closed when nobody waits for the request any more
	carried *atomic.Int64   // bytes of the request, both ways
}

// wait returns when n bytes more may pass, of at most a frame, or when nobody waits for them.
func (p pace) wait(n int, closed <-chan struct{}) {
	much := p.carried.Add(int64(n)) > bulkAfter
	for name, b := range p.budgets {
		if waited := p.waitFor(b, n, much, closed); waited {
			p.metrics.Add(metric.GatewayPrefix+metric.Delayed, uint64(n), name)
		}
	}
}

// waitFor waits for bytes of one budget, and reports whether it had to.
func (p pace) waitFor(b *budget, n int, much bool, closed <-chan struct{}) (waited bool) {
	if much {
		select {
		case b.turn <- struct{}{}:
		case <-p.done:
			return true
		case <-closed:
			return true
		}
		defer func() { <-b.turn }()
		for pause := b.missing(time.Now(), n); pause > 0; pause = b.missing(time.Now(), n) {
			if waited = true; !p.sleep(pause, closed) {
				return true
			}
		}
	}
	now := time.Now()
	r := b.ReserveN(now, n)
	if pause := r.DelayFrom(now); r.OK() && pause > 0 {
		if waited = true; !p.sleep(pause, closed) {
			r.Cancel()
		}
	}
	return waited
}

// sleep returns false if nobody waits any more.
func (p pace) sleep(d time.Duration, closed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.done:
	case <-closed:
	}
	return false
}

// write writes at most a frame at a time.
func (p pace) write(to io.Writer, b []byte, closed <-chan struct{}) (written int, err error) {
	for {
		part := b[written:min(len(b), written+mux.Chunk)]
		p.wait(len(part), closed)
		n, err := to.Write(part)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// read reads at most a frame, and takes its time before it tells.
func (p pace) read(from io.Reader, b []byte, closed <-chan struct{}) (int, error) {
	n, err := from.Read(b[:min(len(b), mux.Chunk)])
	if n > 0 {
		p.wait(n, closed)
	}
	return n, err
}

// paced slows a request down if there are limits on bytes: its body, its answer, and its connection after an upgrade.
func (s *slot) paced(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, *http.Request) {
	if len(s.budgets) == 0 {
		return w, r
	}
	p := pace{s.budgets, s.usage.metrics, r.Context().Done(), new(atomic.Int64)}
	if r.Body != nil && r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = &pacedBody{r.Body, p}
	}
	return &pacedAnswer{w, p}, r
}

type pacedBody struct {
	io.ReadCloser
	pace pace
}

func (b *pacedBody) Read(to []byte) (int, error) { return b.pace.read(b.ReadCloser, to, nil) }

type pacedAnswer struct {
	http.ResponseWriter
	pace pace
}

func (a *pacedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *pacedAnswer) Write(b []byte) (int, error) { return a.pace.write(a.ResponseWriter, b, nil) }

// Hijack gives the connection away, of an upgrade. It goes on being slowed down.
func (a *pacedAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := &pacedConn{Conn: conn, pace: a.pace, closed: make(chan struct{})}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return pacedHalves{c, half.CloseWrite}, rw, nil
	}
	return c, rw, nil
}

// pacedConn may be read by one and written by another at a time, as both have the same budget.
type pacedConn struct {
	net.Conn
	pace   pace
	once   sync.Once
	closed chan struct{}
}

// NetConn is the connection below.
func (c *pacedConn) NetConn() net.Conn { return c.Conn }

func (c *pacedConn) Read(to []byte) (int, error) { return c.pace.read(c.Conn, to, c.closed) }

func (c *pacedConn) Write(b []byte) (int, error) { return c.pace.write(c.Conn, b, c.closed) }

func (c *pacedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// pacedHalves is one of which one direction can be closed.
type pacedHalves struct {
	*pacedConn
	half func() error
}

func (h pacedHalves) CloseWrite() error { return h.half() }
