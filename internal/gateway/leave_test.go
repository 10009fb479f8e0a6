package gateway_test

import (
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestLeave wants a cluster that has left to be forgotten, its name to be free, and its certificate to be refused. To leave
// twice is no error.
func TestLeave(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Admin.CreateAccess(t.Context(), "shop", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := id.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
	if users, err := g.Admin.Users(t.Context()); err != nil || len(users) != 1 || users[0].Tokens != 0 {
		t.Errorf("users %v, %v", users, err)
	}
	again, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil || again.ClusterID() == id.ClusterID() {
		t.Errorf("the name is not free: %v", err)
	}
	if err := id.Leave(t.Context()); err != nil { // the old one knows nothing of the new
		t.Error(err)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("the old certificate has removed the new cluster: %v, %v", list, err)
	}
}

// TestLeaveWithAnExpiredCertificate is a machine that was off for a week.
func TestLeaveWithAnExpiredCertificate(t *testing.T) {
	g := gatewaytest.StartAt(t, func() time.Time { return time.Now().Add(-7 * 24 * time.Hour) })
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	g.Now = time.Now
	g.Start()
	if err := id.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := g.Admin.Clusters(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("clusters %v, %v", list, err)
	}
}

func TestLeaveWithoutAGateway(t *testing.T) {
	g := gatewaytest.Start(t)
	id, err := enroll(t, g, t.TempDir(), "shop", g.Token(""))
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	if err := id.Leave(t.Context()); !reason.Is(err, reason.GatewayUnreachable) {
		t.Errorf("got %v", err)
	}
}
