package gateway

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Limits bound what users may have open at a time, and what may pass. Above the former a request is refused at once, with 429; above the
// latter it is slowed down; nothing that runs is ended.
//
// Of each there are two classes. Of requests those that last, watches, logs -f, exec and connections, may be all but a tenth of a number, see
// kept; of bytes those of a request that carries much go after the others.
type Limits struct {
	User  int // requests of one user, over all clusters; 0 means 200
	Agent int // requests on the way to one machine; 0 means 1000, a little less than the streams of a session
	Dials int // upgrades and connections to services that one machine is just opening; 0 means 64

	// How many bytes per second one user may have over all clusters, and all users of one machine together; both ways count. What is
	// above that waits. 0 means no limit, else at least LeastBytes.
	UserBytes, AgentBytes int
}

const (
	defaultUserLimit  = 200
	defaultAgentLimit = 1000
	defaultDialLimit  = 64
	// retryAfter is when a request that was refused may be made again, in seconds. kubectl does so by itself.
	retryAfter = "1"
)

// headerLimit tells a user how many requests are open of how many, and what may pass, so that a limit is no surprise.
const headerLimit = "Pipeops-Limit"

// kept is how many of a number of requests only those may be that do not last: a tenth, so that who has filled the rest with watches, or
// left them open, can still look.
func kept(limit int) int { return limit / 10 }

// usage is what is open. The zero value has nothing open.
type usage struct {
	mu     sync.Mutex
	users  map[string]load
	agents map[agentKey]load
	dials  map[agentKey]int

	userBytes  budgets[string]
	agentBytes budgets[agentKey]
	metrics    *metric.Set
}

// agentKey is to whom requests go: a machine, or the servers of a cluster, whichever answers.
type agentKey struct{ cluster, machine string }

// load is how many requests are open.
type load struct{ all, last int } // last: of those that last

// full reports whether there is no room for one more request, and then of which requests there are how many, of how many.
func (l load) full(limit int, lasts bool) (which string, n, of int, full bool) {
	switch most := limit - kept(limit); {
	case l.all >= limit:
		return "requests", l.all, limit, true
	case lasts && l.last >= most:
		return "requests that last", l.last, most, true
	}
	return "", 0, 0, false
}

// claim is what a request asks for.
type claim struct {
	user  string // "" counts for the machine only
	to    agentKey
	lasts bool // it may go on for hours
	dials bool // somebody has to be connected to for it
}

// slot is the room that a request takes.
type slot struct {
	usage   *usage
	claim   claim
	dialing bool
	budgets map[string]*budget // of bytes, by limit
	once    sync.Once
}

func (l Limits) filled() Limits {
	for _, field := range []struct {
		value *int
		most  int
	}{{&l.User, defaultUserLimit}, {&l.Agent, defaultAgentLimit}, {&l.Dials, defaultDialLimit}} {
		if *field.value == 0 {
			*field.value = field.most
		}
	}
	return l
}

// take gives room to a request, or says which limit is reached.
func (u *usage) take(l Limits, c claim) (*slot, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users == nil {
		u.users, u.agents, u.dials = map[string]load{}, map[agentKey]load{}, map[agentKey]int{}
	}
	if which, n, of, full := u.users[c.user].full(l.User, c.lasts); full { // nobody has none
		return nil, reason.Newf(reason.LimitUser, "%s has %d %s open, of %d", c.user, n, which, of)
	}
	if which, n, of, full := u.agents[c.to].full(l.Agent, c.lasts); full {
		return nil, reason.Newf(reason.LimitAgent, "%d %s are on their way to it, of %d", n, which, of)
	}
	if c.dials && u.dials[c.to] >= l.Dials {
		return nil, reason.Newf(reason.LimitDials, "%d connections are being opened there, of %d", u.dials[c.to], l.Dials)
	}
	u.count(c, 1)
	if c.dials {
		u.dials[c.to]++
	}
	s := &slot{usage: u, claim: c, dialing: c.dials, budgets: map[string]*budget{}}
	now := time.Now()
	if c.user != "" && l.UserBytes > 0 {
		s.budgets[byUser] = u.userBytes.take(c.user, l.UserBytes, now)
	}
	if l.AgentBytes > 0 {
		s.budgets[byAgent] = u.agentBytes.take(c.to, l.AgentBytes, now)
	}
	return s, nil
}

// count counts a request, or one less. u.mu is held.
func (u *usage) count(c claim, by int) {
	if c.user != "" {
		add(u.users, c.user, c.lasts, by)
	}
	add(u.agents, c.to, c.lasts, by)
}

// add counts one more or one less, and forgets what is nothing: there may be many users in the life of a gateway.
func add[K comparable](loads map[K]load, key K, lasts bool, by int) {
	l := loads[key]
	if l.all += by; lasts {
		l.last += by
	}
	if loads[key] = l; l.all <= 0 {
		delete(loads, key)
	}
}

// open is how many requests a user has open.
func (u *usage) open(user string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.users[user].all
}

// opened gives back what only the opening takes.
func (s *slot) opened() {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	s.answered()
}

func (s *slot) answered() {
	if s.dialing {
		s.dialing = false
		if s.usage.dials[s.claim.to]--; s.usage.dials[s.claim.to] <= 0 {
			delete(s.usage.dials, s.claim.to)
		}
	}
}

// release gives back everything.
func (s *slot) release() {
	s.once.Do(func() {
		s.usage.mu.Lock()
		defer s.usage.mu.Unlock()
		s.answered()
		s.usage.count(s.claim, -1)
		for _, b := range s.budgets {
			b.open--
		}
	})
}

// room finds room for a request to a machine, or says why there is none. The header of the answer tells how much is used.
func (g *Gateway) room(w http.ResponseWriter, r *http.Request, p *peer, header http.Header) (*slot, error) {
	event := audit.Of(r.Context()).Event()
	user := event.User
	if user == "" {
		user = header.Get(wire.HeaderUser)
	}
	if user == wire.UserPublic { // it is everybody
		user = ""
	}
	kind := metric.KindOf(r, event.Verb, event.Subresource)
	taken, err := g.usage.take(g.Limits, claim{
		user: user, to: agentKey{p.id, p.machine}, lasts: kind != metric.KindKube, dials: r.Method == http.MethodConnect || header.Get("Upgrade") != "",
	})
	limit := "requests=" + strconv.Itoa(g.Limits.User) + ", open=" + strconv.Itoa(g.usage.open(user))
	if g.Limits.UserBytes > 0 {
		limit += ", bytes_per_second=" + strconv.Itoa(g.Limits.UserBytes)
	}
	w.Header().Set(headerLimit, limit)
	if err != nil {
		w.Header().Set("Retry-After", retryAfter)
		g.Log.Info("request refused", "err", err, "cluster", p.name, "user", user)
	}
	return taken, err
}
