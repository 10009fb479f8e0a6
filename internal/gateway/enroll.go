package gateway

import (
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// enroll exchanges a join token for a certificate.
func (g *Gateway) enroll(w http.ResponseWriter, r *http.Request) {
	var request wire.EnrollRequest
	if err := read(r, &request); err != nil {
		g.fail(w, r, err)
		return
	}
	token, err := wire.ParseToken(request.Token)
	key, digest, keyErr := requestKey(request.CSR)
	switch {
	case request.Version > wire.Version:
		err = reason.Newf(reason.GatewayRefused, "the agent's documents are of version %d, this gateway knows %d: update the gateway", request.Version, wire.Version)
	case err != nil:
		err = reason.Newf(reason.TokenMalformed, "it is not of the form pat_<id>.<secret>.<digest>")
	case !token.Pins(g.authority.cert.Raw):
		err = reason.Newf(reason.TokenUnknown, "token %s was made by another gateway", token.ID)
	case !wire.ValidName(request.Cluster):
		err = reason.Newf(reason.Usage, "cluster name %.60q: want lower-case letters, digits and '-', at most 40", request.Cluster)
	case keyErr != nil:
		err = reason.New(reason.Usage, "the certificate request cannot be used", keyErr)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	enrolled, err := g.store.Enroll(r.Context(), token, request.Cluster, digest, request.Agent)
	if err != nil {
		g.replayed(r, token.ID, err)
		g.fail(w, r, err)
		return
	}
	if old := g.sessions.machine(enrolled.ID, enrolled.Machine); old != nil && enrolled.Replaced {
		old.retire()
		g.dismiss(r.Context(), old, reason.Newf(reason.IdentityRevoked, "another machine has enrolled as %s", request.Cluster))
	}
	certificate, err := g.authority.certify(enrolled.ID, "", key)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.audit.Note("a machine has enrolled", 0, audit.Event{Cluster: request.Cluster, Machine: enrolled.Machine, Remote: r.RemoteAddr, Name: token.ID})
	g.Log.Info("cluster enrolled", "cluster", request.Cluster, "cluster_id", enrolled.ID, "token", token.ID, "remote", r.RemoteAddr, "replaced", enrolled.Replaced)
	answer(w, wire.EnrollResponse{ClusterID: enrolled.ID, Cluster: request.Cluster, Certificate: certificate, CA: g.authority.pem()})
}

// renew gives a connected agent a new certificate for the key that it has.
func (g *Gateway) renew(w http.ResponseWriter, r *http.Request, p *peer) {
	var request wire.RenewRequest
	err := read(r, &request)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	key, digest, err := requestKey(request.CSR)
	if err != nil {
		g.fail(w, r, reason.New(reason.Usage, "the certificate request cannot be used", err))
		return
	}
	cluster, machine, err := g.known(r.Context(), p.id, digest)
	if err == nil && machine.ID != p.machine {
		err = reason.Newf(reason.IdentityRevoked, "the key is that of another machine of %s", cluster.Name)
	}
	if err != nil {
		g.fail(w, r, err)
		return
	}
	certificate, err := g.authority.certify(p.id, machine.Named(), key)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	g.Log.Info("certificate renewed", "cluster", cluster.Name, "machine", machine.ID)
	answer(w, wire.RenewResponse{Certificate: certificate})
}
