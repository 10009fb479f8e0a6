// Command web is the sample project of the demo and the tests: a page that says which pod it comes from, and two things
// to do for those who exec into the pod.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	version := flag.Bool("version", false, "say what this is, and end")
	echo := flag.Bool("echo", false, "repeat one line of the standard input, and end")
	flag.Parse()
	switch {
	case *version:
		fmt.Println("sample web")
		return
	case *echo:
		line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		fmt.Print("echo: ", line)
		return
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, log)
	stop()
	if err != nil {
		log.Error("stopped", "error", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, log *slog.Logger) error {
	pod, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("cannot learn the name of the pod: %w", err)
	}
	server := &http.Server{
		Addr:              ":8080",
		Handler:           handler(os.Getenv("GREETING"), pod, 100*time.Millisecond, log),
		ReadHeaderTimeout: 10 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	defer stop()
	log.Info("listening", "address", server.Addr, "pod", pod)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler serves / (the greeting), /healthz, and /slow: ten lines, one at a time, for those who test streaming.
func handler(greeting, pod string, interval time.Duration, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		for i := range 10 {
			fmt.Fprintf(w, "line %d from pod %s\n", i, pod)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(interval):
			}
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		log.Info("request", "path", r.URL.Path)
		fmt.Fprintf(w, "hello from %s on pod %s\n", greeting, pod)
	})
	return mux
}
