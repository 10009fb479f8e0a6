package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/crypto/nacl/box"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// joinTimeout bounds the whole exchange: the gateway asks the cluster's agent, which asks its API server.
const joinTimeout = time.Minute

// JoinOptions say how to join a cluster that is there. Options.Token is a node token, Options.Cluster is not used.
type JoinOptions struct {
	Options
	NodeName    string    // as wire.ValidNodeName has it
	Role        wire.Role // what the machine was told to become; "" means what the token says
	K3sVersions []string  // that this machine can install; empty means any
}

// Joined is the way into a cluster.
type Joined struct {
	wire.JoinAnswer
	Role     wire.Role
	Told     time.Time // when the cluster has said so; zero if that is not known
	k3sToken string
}

// Token returns the k3s token in its full form, which names the CA of the cluster. It is a secret.
func (j Joined) Token() string { return j.k3sToken }

// String hides the token.
func (j Joined) String() string { return fmt.Sprintf("%s of %v", j.Role, j.Servers) }

// GoString hides the token from %#v.
func (j Joined) GoString() string { return j.String() }

// fullToken is a k3s token that pins the CA of its cluster; what follows is either user:password or a bootstrap token.
var fullToken = regexp.MustCompile(`^K10[0-9a-f]{64}::[!-~]{1,512}$`)

// Join exchanges a node token for an identity, which it stores as Enroll does, and for the way into the cluster. A call
// that was cut anywhere can be repeated with the same token for as long as that lives. The error is one of
// those of [transport.Dialer.HTTPS], GATEWAY_REFUSED, TOKEN_UNKNOWN, TOKEN_USED, TOKEN_EXPIRED,
// CLUSTER_NOT_CONNECTED, the JOIN_ ones and USAGE, or that of the file system.
func Join(ctx context.Context, o JoinOptions) (*Identity, Joined, error) {
	address, err := Address(o.Gateway)
	if err != nil {
		return nil, Joined{}, err
	}
	if !o.Token.Node {
		return nil, Joined{}, reason.Newf(reason.TokenMalformed, "it is no node token: want pjt_<id>.<secret>.<digest>")
	}
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		return nil, Joined{}, fmt.Errorf("cannot make a key to seal with: %w", err)
	}
	id, csr, err := prepare(o.Dir)
	if err != nil {
		return nil, Joined{}, err
	}
	request := wire.JoinRequest{
		Version: wire.Version, Token: o.Token.Reveal(), CSR: csr, NodeName: o.NodeName, Role: o.Role, Arch: runtime.GOARCH,
		SealKey: base64.StdEncoding.EncodeToString(public[:]), K3sVersions: o.K3sVersions, Agent: o.Agent,
	}
	if err := request.Validate(); err != nil {
		return nil, Joined{}, reason.Newf(reason.Usage, "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	var answer wire.JoinResponse
	if err := o.post(ctx, address, wire.PathJoin, request, &answer); err != nil {
		return nil, Joined{}, err
	}
	joined := Joined{JoinAnswer: answer.JoinAnswer, Role: answer.Role, Told: time.Now().UTC()}
	if joined.k3sToken, err = open(answer, public, private); err != nil {
		return nil, Joined{}, reason.New(reason.GatewayRefused, address+" sent an answer that is of no use", err)
	}
	if err := id.folder.storeJoined(joined); err != nil {
		return nil, Joined{}, err
	}
	id, err = id.keep(o.Token, document{
		Version: wire.Version, ClusterID: answer.ClusterID, Cluster: answer.Cluster, Gateway: address, Certificate: answer.Certificate,
		CA: answer.CA, Machine: answer.Machine, Role: answer.Role, Node: o.NodeName,
	})
	if err != nil {
		return nil, Joined{}, err
	}
	return id, joined, nil
}

// open checks an answer and opens its seal. Its errors never hold what was sealed.
func open(answer wire.JoinResponse, public, private *[32]byte) (string, error) {
	if err := answer.Validate(); err != nil {
		return "", err
	}
	if !wire.ValidID(answer.Machine) || !answer.Role.Known() {
		return "", fmt.Errorf("it names the machine %.40q and the role %.20q", answer.Machine, answer.Role)
	}
	sealed, err := base64.StdEncoding.DecodeString(answer.Sealed)
	if err != nil {
		return "", fmt.Errorf("cannot read the seal: %w", err)
	}
	plain, ok := box.OpenAnonymous(nil, sealed, public, private)
	if !ok {
		return "", fmt.Errorf("what is sealed is not for this machine, or was changed")
	}
	if !fullToken.Match(plain) {
		return "", fmt.Errorf("what is sealed is no k3s token that names the CA of its cluster")
	}
	return string(plain), nil
}
