package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway/store"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/refusal"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// askTimeout bounds how long an agent may take to say how a machine joins: it asks its API server a few times.
const askTimeout = 25 * time.Second

// join exchanges a node token for a certificate and the way into the token's cluster, which the agent of the cluster knows.
// The token is the machine's as soon as it is seen; if nothing comes of it, it is given back.
func (g *Gateway) join(w http.ResponseWriter, r *http.Request) {
	var request wire.JoinRequest
	if err := read(r, &request); err != nil {
		g.fail(w, r, err)
		return
	}
	token, err := wire.ParseNodeToken(request.Token)
	key, digest, keyErr := requestKey(request.CSR)
	invalid := request.Validate()
	switch {
	case request.Version > wire.Version:
		err = reason.Newf(reason.GatewayRefused, "the agent's documents are of version %d, this gateway knows %d: update the gateway", request.Version, wire.Version)
	case err != nil:
		err = reason.Newf(reason.TokenMalformed, "it is not of the form pjt_<id>.<secret>.<digest>")
	case !token.Pins(g.authority.cert.Raw):
		err = reason.Newf(reason.TokenUnknown, "token %s was made by another gateway", token.ID)
	case invalid != nil:
		err = reason.Newf(reason.Usage, "%v", invalid)
	case keyErr != nil:
		err = reason.New(reason.Usage, "the certificate request cannot be used", keyErr)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	claim, err := g.store.ClaimJoin(r.Context(), token, digest, request.NodeName, request.Role)
	if err != nil {
		g.replayed(r, token.ID, err)
		g.fail(w, r, err)
		return
	}
	response, err := g.admitNode(r.Context(), claim, request, key)
	if err != nil {
		// the machine may be gone, and its token must not be lost with it
		if err := g.store.ReleaseJoin(context.WithoutCancel(r.Context()), claim); err != nil {
			g.Log.Error("token not given back", "token", token.ID, "err", err)
		}
		g.fail(w, r, err)
		return
	}
	g.audit.Note("a machine has joined", 0, audit.Event{Cluster: claim.Cluster, Machine: claim.Machine, Remote: r.RemoteAddr, Name: token.ID})
	g.Log.Info("machine joins", "cluster", claim.Cluster, "machine", claim.Machine, "node", request.NodeName, "role", claim.Role,
		"token", token.ID, "remote", r.RemoteAddr, "again", claim.Again)
	answer(w, response)
}

func (g *Gateway) admitNode(ctx context.Context, claim store.Claim, request wire.JoinRequest, key any) (wire.JoinResponse, error) {
	told, err := g.askToJoin(ctx, claim, wire.AgentJoinRequest{
		Version: wire.Version, Machine: claim.Machine, Role: claim.Role, NodeName: request.NodeName, SealKey: request.SealKey,
		K3sVersions: request.K3sVersions, Again: claim.Again,
	})
	if err != nil {
		return wire.JoinResponse{}, err
	}
	certificate, err := g.authority.certify(claim.ClusterID, claim.Machine, key)
	if err != nil {
		return wire.JoinResponse{}, err
	}
	if err := g.store.CompleteJoin(ctx, claim, request.NodeName, request.Agent); err != nil {
		return wire.JoinResponse{}, err
	}
	return wire.JoinResponse{
		Certificate: certificate, CA: g.authority.pem(), Cluster: claim.Cluster, ClusterID: claim.ClusterID,
		Machine: claim.Machine, Role: claim.Role, JoinAnswer: told,
	}, nil
}

// askToJoin asks the servers of a cluster, one after the other, until one of them can say yes or no.
func (g *Gateway) askToJoin(ctx context.Context, claim store.Claim, request wire.AgentJoinRequest) (wire.JoinAnswer, error) {
	unable := error(reason.Newf(reason.ClusterNotConnected, "%s: no server of it is connected", claim.Cluster))
	for _, p := range g.servers(ctx, claim.ClusterID, claim.Cluster, g.fleet.permit(claim.ClusterID)) {
		if p.machine == request.Machine { // it is on its way in again, and cannot vouch for itself
			continue
		}
		var told wire.AgentJoinResponse
		err := p.ask(ctx, wire.PathAgentJoin, request, &told)
		if err == nil {
			if err = told.Validate(); err != nil {
				err = reason.Newf(reason.JoinUnavailable, "the agent of %s gave an answer that is of no use: %v", claim.Cluster, err)
			}
		}
		if err == nil {
			return told.JoinAnswer, nil
		}
		g.Log.Info("agent says no to a machine that joins", "cluster", claim.Cluster, "by", p.machine, "node", request.NodeName, "err", err)
		unable = err
		if !reason.Is(err, reason.JoinUnavailable) && !reason.Is(err, reason.ClusterNotConnected) {
			break // another one would say the same
		}
	}
	return wire.JoinAnswer{}, unable
}

// ask posts a document to an agent and reads its answer. The error is a reason: that of the agent, CLUSTER_NOT_CONNECTED, or
// JOIN_UNAVAILABLE if the agent is too old to know the path.
func (p *peer) ask(ctx context.Context, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("cannot make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := p.transport().RoundTrip(r)
	if err != nil {
		return reason.Newf(reason.ClusterNotConnected, "%s: the connection was lost: %v", p.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case response.StatusCode == http.StatusNotFound:
		return reason.Newf(reason.JoinUnavailable, "the agent of %s is of a version that does not know how: update it", p.name)
	case response.StatusCode >= 300:
		var known *reason.Error
		if err := refusal.Read(response); errors.As(err, &known) {
			return known
		}
		return reason.Newf(reason.JoinUnavailable, "the agent of %s answered %s", p.name, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, wire.MaxDocument)).Decode(into); err != nil {
		return reason.Newf(reason.JoinUnavailable, "the answer of the agent of %s was cut: %v", p.name, err)
	}
	return nil
}
