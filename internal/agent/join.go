package agent

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/nodes"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// maxJoin bounds a request, in bytes: 64 versions and a key.
	maxJoin = 64 << 10
	// joinTimeout bounds an answer: some ten requests to the API server.
	joinTimeout = 20 * time.Second
	// How often tokens of nodes are looked after: while a machine is on its way in, and else, for those of another server.
	sweepBusy = 5 * time.Second
	sweepIdle = time.Hour
	// joiner is the name under which the agent makes tokens for nodes.
	joiner = "agent-join"
)

// porter lets machines join the cluster, and takes the tokens away that it gave them.
type porter struct {
	door   nodes.Door
	source *cluster.Source
	log    *slog.Logger
	wake   chan struct{} // of one slot: a machine is on its way in
}

func (p *porter) client() (nodes.Cluster, error) {
	own, err := p.source.Client()
	if err != nil {
		return nodes.Cluster{}, err
	}
	client, err := own.As(joiner)
	if err != nil {
		return nodes.Cluster{}, err
	}
	return nodes.Cluster{Dynamic: client.Dynamic, CACerts: own.CACerts}, nil
}

// ServeHTTP answers wire.PathAgentJoin.
func (p *porter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), joinTimeout)
	defer cancel()
	var request wire.AgentJoinRequest
	err := json.NewDecoder(io.LimitReader(r.Body, maxJoin)).Decode(&request)
	if err != nil {
		err = reason.New(reason.Usage, "the body of the request is not what it should be", err)
	}
	var answer wire.AgentJoinResponse
	if err == nil {
		answer.JoinAnswer, err = p.answer(ctx, request)
	}
	if err != nil {
		p.log.Warn("a machine may not join", "node", request.NodeName, "role", request.Role, "err", err)
		refusal.Write(w, http.StatusForbidden, err)
		return
	}
	p.log.Info("a machine joins", "node", request.NodeName, "role", request.Role, "machine", request.Machine, "again", request.Again)
	select {
	case p.wake <- struct{}{}:
	default:
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the gateway is gone, or has it
}

func (p *porter) answer(ctx context.Context, request wire.AgentJoinRequest) (wire.JoinAnswer, error) {
	if request.Version > wire.Version {
		return wire.JoinAnswer{}, reason.Newf(reason.JoinUnavailable, "the gateway's documents are of version %d, this agent knows %d", request.Version, wire.Version)
	}
	client, err := p.client()
	if err != nil {
		return wire.JoinAnswer{}, nodes.Unavailable(err)
	}
	return p.door.Answer(ctx, client, request)
}

// run takes away the tokens of machines that have come, until ctx ends.
func (p *porter) run(ctx context.Context) error {
	for {
		wait := sweepIdle
		client, err := p.client()
		left := 0
		if err == nil {
			left, err = p.door.Sweep(ctx, client.Dynamic, p.log)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Debug("tokens of nodes not looked after", "err", err)
		}
		if left > 0 {
			wait = sweepBusy
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-p.wake:
			timer.Stop()
			if err := pause(ctx, sweepBusy, nil); err != nil {
				return err
			}
		}
	}
}
