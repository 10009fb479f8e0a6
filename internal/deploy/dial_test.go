package deploy

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestRedial: an attempt that nobody answers is given up for a new one, a refusal is told at once, and all of it has an end.
func TestRedial(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		name  string
		lost  int // attempts that get no answer
		then  error
		want  error
		took  time.Duration
		tries int
	}{
		{"at once", 0, nil, nil, 0, 1},
		{"two are lost", 2, nil, nil, 750 * time.Millisecond, 3},
		{"refused", 0, refused, syscall.ECONNREFUSED, 0, 1},
		{"lost, then refused", 1, refused, syscall.ECONNREFUSED, 250 * time.Millisecond, 2},
		{"all are lost", 99, nil, context.DeadlineExceeded, dialTimeout, 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			tries, began := 0, time.Now()
			conn, err := redial(t.Context(), func(ctx context.Context) (net.Conn, error) {
				if tries++; tries <= tt.lost {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				if tt.then != nil {
					return nil, tt.then
				}
				ours, _ := net.Pipe()
				return ours, nil
			})
			if took := time.Since(began); !errors.Is(err, tt.want) || (conn == nil) != (err != nil) || took != tt.took || tries != tt.tries {
				t.Errorf("%s: %v after %v and %d attempts, want %v after %v and %d", tt.name, err, took, tries, tt.want, tt.took, tt.tries)
			}
		})
	}
}

// TestRedialEnds: who has lost interest is not dialed for any longer.
func TestRedialEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := redial(ctx, func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
