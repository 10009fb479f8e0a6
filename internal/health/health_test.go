package health

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSinceMovesWithTheStatusOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tracker Tracker
		start := time.Now()
		tracker.Set(Tunnel, False, "Dialing", "first")
		time.Sleep(time.Minute)
		tracker.Set(Tunnel, False, "GATEWAY_UNREACHABLE", "second")
		if c := tracker.Get(Tunnel); !c.Since.Equal(start) || c.Message != "second" {
			t.Errorf("got %+v", c)
		}
		tracker.Set(Tunnel, True, "Up", "")
		if c := tracker.Get(Tunnel); !c.Since.Equal(start.Add(time.Minute)) {
			t.Errorf("got %+v", c)
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	var tracker Tracker
	list, changed := tracker.Conditions()
	if len(list) != len(All()) || list[0].Status != Unknown {
		t.Fatalf("got %+v", list)
	}
	tracker.Set(Tunnel, True, "Up", "")
	<-changed
	_, changed = tracker.Conditions()
	tracker.Set(Tunnel, True, "Up", "")
	select {
	case <-changed:
		t.Error("the same condition again counts as a change")
	default:
	}
}

func TestHealthyNeedsAllThatIsVital(t *testing.T) {
	var tracker Tracker
	for _, c := range All() {
		if healthy(&tracker) {
			t.Fatalf("healthy before %s", c.Type)
		}
		if c.Vital {
			tracker.Set(c.Type, True, "", "")
		}
		if c.Type == ClusterReachable {
			break
		}
	}
	if !healthy(&tracker) {
		t.Error("not healthy")
	}
}

func healthy(tracker *Tracker) bool {
	conditions, _ := tracker.Conditions()
	_, ok := Broken(conditions)
	return ok
}
