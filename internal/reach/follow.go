package reach

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
)

// follower watches objects that connections lead to, each once, as long as there is a connection. A connection to a pod that is gone
// would else stay until TCP gives up, which can take a quarter of an hour.
type follower struct {
	client func() (*cluster.Client, error) // without a time limit
	log    *slog.Logger

	mu      sync.Mutex
	objects map[object]*followed
	work    sync.WaitGroup
}

// object is one of which there can be one only: a second one of its name has another UID.
type object struct {
	resource             schema.GroupVersionResource
	namespace, name, uid string
}

func (o object) String() string {
	kind := "pod"
	if o.resource == servicesResource {
		kind = "service"
	}
	return kind + " " + o.namespace + "/" + o.name
}

type followed struct {
	users int
	gone  chan struct{}
	stop  context.CancelFunc
}

// follow returns a channel that is closed when an object is no more. leave must be called when nobody waits for that any longer.
func (f *follower) follow(o object) (gone <-chan struct{}, leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objects == nil {
		f.objects = map[object]*followed{}
	}
	w := f.objects[o]
	if w == nil {
		ctx, cancel := context.WithCancel(context.Background()) // of all who wait: it ends with the last of them
		w = &followed{gone: make(chan struct{}), stop: cancel}
		f.objects[o] = w
		f.work.Go(func() { f.run(ctx, o, w.gone) })
	}
	w.users++
	return w.gone, sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if w.users--; w.users == 0 {
			w.stop()
			if f.objects[o] == w {
				delete(f.objects, o)
			}
		}
	})
}

// run closes gone when the object is no more, and returns then or when ctx ends.
func (f *follower) run(ctx context.Context, o object, gone chan<- struct{}) {
	wait := backoff.Backoff{Base: 200 * time.Millisecond, Cap: 30 * time.Second}
	refused := false
	for ctx.Err() == nil {
		began := time.Now()
		there, err := f.watch(ctx, o)
		switch {
		case err == nil && !there:
			close(gone)
			return
		case apierrors.IsForbidden(err) && !refused: // an API server that has just started refuses what it allows a moment later
			refused = true
			f.log.Warn("connections do not end with what they lead to: the account of the agent may not watch it", "object", o.String(),
				"fix", "if it stays so, run pipeops-agent access renew", "err", err)
		case err != nil && ctx.Err() == nil:
			f.log.Debug("cannot watch", "object", o.String(), "err", err)
		}
		if time.Since(began) > time.Minute {
			wait.Reset()
		}
		if backoff.Sleep(ctx, wait.Next()) != nil {
			return
		}
	}
}

// watch returns that the object is no more, or that its watch ended.
func (f *follower) watch(ctx context.Context, o object) (there bool, err error) {
	client, err := f.client()
	if err != nil {
		return true, err
	}
	objects := client.Dynamic.Resource(o.resource).Namespace(o.namespace)
	options := metav1.ListOptions{FieldSelector: "metadata.name=" + o.name}
	list, err := objects.List(ctx, options)
	if err != nil {
		return true, err
	}
	there = false
	for i := range list.Items {
		there = there || o.is(&list.Items[i])
	}
	if !there {
		return false, nil
	}
	options.ResourceVersion = list.GetResourceVersion()
	options.AllowWatchBookmarks = true
	watching, err := objects.Watch(ctx, options)
	if err != nil {
		return true, err
	}
	defer watching.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case event, open := <-watching.ResultChan():
			if !open {
				return true, nil
			}
			held, ok := event.Object.(*unstructured.Unstructured)
			switch {
			case event.Type == watch.Error:
				return true, fmt.Errorf("the watch ended: %w", apierrors.FromObject(event.Object))
			case !ok || held.GetName() != o.name:
			case event.Type == watch.Deleted, event.Type != watch.Bookmark && !o.is(held):
				return false, nil
			}
		}
	}
}

// is reports whether an object is the one, and lives.
func (o object) is(held *unstructured.Unstructured) bool {
	if held.GetName() != o.name || o.uid != "" && string(held.GetUID()) != o.uid {
		return false
	}
	phase, _, _ := unstructured.NestedString(held.Object, "status", "phase")
	return o.resource != podsResource || phase != "Succeeded" && phase != "Failed"
}
