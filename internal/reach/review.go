package reach

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// For how long an answer of the API server counts: a right that is taken away, or given, counts soon.
const (
	allowedFor = 10 * time.Second
	deniedFor  = 2 * time.Second
)

// maxReviews bounds the answers that are kept.
const maxReviews = 1024

// reviews asks the cluster who may reach what, as the user himself: the right to reach a service is create services/proxy, that to reach
// a pod create pods/portforward, as for kubectl.
type reviews struct {
	mu   sync.Mutex
	kept map[review]verdict
}

type review struct{ user, groups, kind, namespace, name string }

type verdict struct {
	allowed bool
	until   time.Time
}

// needed is the right that a target takes.
func needed(t wire.Target) cluster.Need {
	n := cluster.Need{Verb: "create", Resource: "services/proxy", Namespace: t.Namespace, Name: t.Name}
	if t.Kind == wire.KindPod {
		n.Resource = "pods/portforward"
	}
	return n
}

// check returns CONNECT_FORBIDDEN if the user may not reach the target, or an error of the API server.
func (r *reviews) check(ctx context.Context, client *cluster.Client, user string, groups []string, t wire.Target) error {
	key := review{user, strings.Join(groups, ","), t.Kind, t.Namespace, t.Name}
	need := needed(t)
	r.mu.Lock()
	v, there := r.kept[key]
	r.mu.Unlock()
	if !there || time.Now().After(v.until) {
		as, err := client.AsUser(user, groups)
		if err != nil {
			return err
		}
		missing, err := as.Missing(ctx, []cluster.Need{need})
		if err != nil {
			return err
		}
		v = verdict{len(missing) == 0, time.Now().Add(allowedFor)}
		if !v.allowed {
			v.until = time.Now().Add(deniedFor)
		}
		r.keep(key, v)
	}
	if !v.allowed {
		return reason.Newf(reason.ConnectForbidden, "%s may not %s", user, need)
	}
	return nil
}

func (r *reviews) keep(key review, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil || len(r.kept) >= maxReviews {
		r.kept = map[review]verdict{}
	}
	r.kept[key] = v
}
