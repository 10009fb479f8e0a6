package clustertest

import (
	"testing"
	"time"

	"k8s.io/client-go/dynamic/fake"
)

// WaitWatched returns when a resource, such as "pods", has been watched. A real API server tells a watch all that came after the list
// before it; this stand-in forgets what came between the two, so that a test must not change anything then.
func WaitWatched(t testing.TB, server *fake.FakeDynamicClient, resource string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, action := range server.Actions() {
			if action.Matches("watch", resource) {
				return
			}
		}
	}
	t.Fatalf("nobody watches %s", resource)
}
