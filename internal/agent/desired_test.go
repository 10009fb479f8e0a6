package agent

import (
	"errors"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestDesiredStateIsNotCalledTrueUnseen(t *testing.T) {
	well := wire.Status{Kind: "Project", Name: "a", Conditions: []wire.Condition{{Type: "Available", Status: health.True}}}
	ill := wire.Status{Kind: "Project", Name: "b", Conditions: []wire.Condition{{Type: "Applied", Status: health.True},
		{Type: "Available", Status: health.Unknown, Reason: "Unreadable"}}}
	unread := errors.New("nobody has looked yet")
	for _, c := range []struct {
		list   []wire.Status
		unread error
		want   string
	}{
		{nil, nil, health.True},
		{[]wire.Status{well}, nil, health.True},
		{[]wire.Status{well, ill}, nil, health.False},
		{[]wire.Status{ill}, unread, health.False},
		{[]wire.Status{well}, unread, health.Unknown},
		{nil, unread, health.Unknown},
	} {
		if _, got, _, _ := desiredState(c.list, c.unread); got != c.want {
			t.Errorf("%v, %v is %s, want %s", c.list, c.unread, got, c.want)
		}
	}
}
