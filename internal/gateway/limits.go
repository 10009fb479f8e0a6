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

// usage is what is open. The zero value has nothing open.
type usage struct {
	mu     sync.Mutex
	users  map[string]int
	agents map[agentKey]int
	dials  map[agentKey]int

	userBytes  budgets[string]
	agentBytes budgets[agentKey]
	metrics    *metric.Set
}

// agentKey is to whom requests go: a machine, or the servers of a cluster, whichever answers.
type agentKey struct{ cluster, machine string }

// slot is the room that a request takes.
type slot struct {
	usage   *usage
	user    string
	agent   agentKey
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

// take gives room to a request, or says which limit is reached. Who is not named counts for the machine only.
func (u *usage) take(l Limits, user string, to agentKey, dials bool) (*slot, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.users == nil {
		u.users, u.agents, u.dials = map[string]int{}, map[agentKey]int{}, map[agentKey]int{}
	}
	switch {
	case user != "" && u.users[user] >= l.User:
		return nil, reason.Newf(reason.LimitUser, "%s has %d requests open, of %d", user, u.users[user], l.User)
	case u.agents[to] >= l.Agent:
		return nil, reason.Newf(reason.LimitAgent, "%d requests are on their way to it, of %d", u.agents[to], l.Agent)
	case dials && u.dials[to] >= l.Dials:
		return nil, reason.Newf(reason.LimitDials, "%d connections are being opened there, of %d", u.dials[to], l.Dials)
	}
	if user != "" {
		u.users[user]++
	}
	u.agents[to]++
	if dials {
		u.dials[to]++
	}
	s := &slot{usage: u, user: user, agent: to, dialing: dials, budgets: map[string]*budget{}}
	now := time.Now()
	if user != "" && l.UserBytes > 0 {
		s.budgets[byUser] = u.userBytes.take(user, l.UserBytes, now)
	}
	if l.AgentBytes > 0 {
		s.budgets[byAgent] = u.agentBytes.take(to, l.AgentBytes, now)
	}
	return s, nil
}

// open is how many requests a user has open.
func (u *usage) open(user string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.users[user]
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
		less(s.usage.dials, s.agent)
	}
}

// release gives back everything.
func (s *slot) release() {
	s.once.Do(func() {
		s.usage.mu.Lock()
		defer s.usage.mu.Unlock()
		s.answered()
		less(s.usage.agents, s.agent)
		if s.user != "" {
			less(s.usage.users, s.user)
		}
		for _, b := range s.budgets {
			b.open--
		}
	})
}

// less counts down, and forgets what is nothing: there may be many users in the life of a gateway.
func less[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// room finds room for a request to a machine, or says why there is none. The header of the answer tells how much is used.
func (g *Gateway) room(w http.ResponseWriter, r *http.Request, p *peer, header http.Header) (*slot, error) {
	user := audit.Of(r.Context()).Event().User
	if user == "" {
		user = header.Get(wire.HeaderUser)
	}
	if user == wire.UserPublic { // it is everybody
		user = ""
	}
	taken, err := g.usage.take(g.Limits, user, agentKey{p.id, p.machine}, r.Method == http.MethodConnect || header.Get("Upgrade") != "")
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
