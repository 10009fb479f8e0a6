package distro

import (
	"context"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/backoff"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// When a cluster that is waited for is suspected: a healthy machine has one within the first minute, and a slow one says
// something new in half of that.
const (
	suspectFirst = time.Minute
	suspectEvery = 30 * time.Second
)

// Suspect looks in the words of a k3s that runs for what may keep it from being ready. It is a suspicion, for the same lines come
// before a success that is late. False if there is none, or if the newest start has ended: then [Diagnose] knows.
func Suspect(w Words, f host.Facts) (Diagnosis, bool) {
	if newest := w.starts()[0]; !newest.ended() {
		return newest.diagnose(f)
	}
	return Diagnosis{}, false
}

// Suspecting waits by wait. While that takes long, it looks for a suspicion from time to time and tells each once. It never ends
// the wait.
func Suspecting(ctx context.Context, look func(context.Context) (Diagnosis, bool), tell func(Diagnosis), wait func(context.Context) error) error {
	var looking sync.WaitGroup
	defer looking.Wait()
	waiting, done := context.WithCancel(ctx)
	defer done()
	looking.Go(func() {
		told := map[string]bool{}
		for pause := suspectFirst; backoff.Sleep(waiting, pause) == nil; pause = suspectEvery {
			d, ok := look(waiting)
			if ok && waiting.Err() == nil && !told[d.Cause.Name] {
				told[d.Cause.Name] = true
				tell(d)
			}
		}
	})
	return wait(ctx)
}
