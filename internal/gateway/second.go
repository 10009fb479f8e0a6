package gateway

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
	"github.com/pipeopshq/pipeops-agent/internal/session"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// second takes a further connection of an agent for the session to which it is to belong, and returns when it is gone.
func (g *Gateway) second(ctx context.Context, c carrier, began net.Conn) {
	log := g.Log.With("cluster_id", clusterOf(c.leaf), "remote", c.RemoteAddr().String())
	said, err := readSecond(began)
	if err != nil {
		log.Debug("second connection not taken", "err", err)
		return
	}
	p := g.ofSecond(c, said.Token)
	if p == nil {
		log.Debug("second connection not taken", "err", "there is no such session here")
		return
	}
	if err := session.Tune(began); err != nil {
		log.Debug("connection not tuned", "err", err)
	}
	if _, err := began.Write([]byte{wire.SecondTaken}); err != nil {
		return
	}
	g.metrics.Add(metric.GatewayPrefix+metric.SecondBegan, 1)
	log.Debug("second connection", "machine", p.machine, "number", said.Number)
	err = p.session.Second(ctx, began, said.Number)
	log.Debug("second connection gone", "machine", p.machine, "number", said.Number, "evidence", err)
}

// ofSecond is the session that a connection is to belong to; nil if there is none that is of the machine at its other end.
func (g *Gateway) ofSecond(c carrier, token string) *peer {
	key := sha256.Sum256(c.leaf.RawSubjectPublicKeyInfo)
	for _, p := range g.sessions.of(clusterOf(c.leaf)) {
		if subtle.ConstantTimeCompare([]byte(p.second), []byte(token)) == 1 && subtle.ConstantTimeCompare(p.key, key[:]) == 1 {
			return p
		}
	}
	return nil
}

// readSecond reads what a further connection is to belong to.
func readSecond(conn net.Conn) (wire.Second, error) {
	if err := conn.SetReadDeadline(time.Now().Add(firstWord)); err != nil {
		return wire.Second{}, err
	}
	raw := make([]byte, wire.SecondLen)
	if _, err := io.ReadFull(conn, raw); err != nil {
		return wire.Second{}, err
	}
	said, ok := wire.ParseSecond(raw)
	if !ok {
		return said, errors.New("it is no tunnel, and no second connection of one")
	}
	return said, conn.SetReadDeadline(time.Time{})
}

// newSecond draws the token by which further connections belong to a session.
func newSecond() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return hex.EncodeToString(b[:])
}
