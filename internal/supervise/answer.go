package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// The paths on the socket.
const (
	overviewPath = "/v1/services"
	servicePath  = "/v1/services/{name}/{verb}"
	reloadPath   = "/v1/reload"
	finishPath   = "/v1/finish"
)

const (
	// answerTimeout bounds an answer: a stop takes up to the grace of a service, and what it kills some seconds more.
	answerTimeout = maxGrace + time.Minute
	// farewell bounds how long the end waits for those who are being answered.
	farewell = 5 * time.Second
)

// What may be asked for beside the verbs of a keeper.
const (
	verbEnable  = "enable"
	verbDisable = "disable"
)

// answer answers on the socket until ctx ends. The channel gets the error if that ends before.
func (s *Supervisor) answer(ctx context.Context, own *sync.WaitGroup) (<-chan error, error) {
	if err := os.Remove(s.socket()); err != nil && !errors.Is(err, os.ErrNotExist) { // the lock is ours: nobody answers there
		return nil, fmt.Errorf("cannot remove the old socket: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", s.socket())
	if err != nil {
		return nil, fmt.Errorf("cannot listen on the socket of the supervisor: %w", err)
	}
	if err := os.Chmod(s.socket(), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot protect the socket of the supervisor: %w", err), listener.Close())
	}
	server := &http.Server{Handler: s.routes(ctx), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: answerTimeout, MaxHeaderBytes: 8 << 10}
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	failed := make(chan error, 1)
	own.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("cannot serve the socket of the supervisor: %w", err)
		}
	})
	own.Go(func() {
		<-ctx.Done()
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		if server.Shutdown(limited) != nil {
			_ = server.Close()
		}
	})
	return failed, nil
}

func (s *Supervisor) routes(life context.Context) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+overviewPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.overview())
	})
	mux.HandleFunc("POST "+reloadPath, func(w http.ResponseWriter, _ *http.Request) { say(w, s.reload(life)) })
	mux.HandleFunc("POST "+finishPath, func(w http.ResponseWriter, _ *http.Request) {
		if !s.Stays {
			s.once.Do(func() { close(s.finish) })
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.overview())
	})
	mux.HandleFunc("POST "+servicePath, func(w http.ResponseWriter, r *http.Request) {
		name, verb := r.PathValue("name"), r.PathValue("verb")
		if !ValidName(name) {
			http.Error(w, "that is no name of a service", http.StatusBadRequest)
			return
		}
		k := s.keeper(name)
		if k == nil {
			http.Error(w, "there is no service "+name, http.StatusNotFound)
			return
		}
		switch verb {
		case verbEnable, verbDisable:
			say(w, s.enable(k, name, verb == verbEnable))
		case verbStart, verbRestart, verbStop, verbStopAll, verbReset:
			say(w, s.change(r.Context(), k, verb))
		default:
			http.Error(w, "a service cannot be told to "+verb, http.StatusBadRequest)
		}
	})
	return mux
}

// change asks a keeper for something. On the way down nothing is started any more.
func (s *Supervisor) change(ctx context.Context, k *keeper, verb string) error {
	s.mu.Lock()
	stopping := s.stopping
	s.mu.Unlock()
	if stopping && (verb == verbStart || verb == verbRestart) {
		return errors.New("the supervisor is on its way down")
	}
	return k.do(ctx, verb)
}

// enable makes a service start with the machine, or not.
func (s *Supervisor) enable(k *keeper, name string, on bool) error {
	var err error
	if on {
		err = atomicfile.Write(mark(s.Folder, name), 0o600, nil)
	} else {
		err = atomicfile.Remove(mark(s.Folder, name))
	}
	if err == nil {
		k.enable(on)
	}
	return err
}

func say(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
