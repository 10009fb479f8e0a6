package carry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection of TCP with both of its ends.
func pair(t testing.TB) (one, other *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	one, other = a.(*net.TCPConn), b.(*net.TCPConn)
	for _, c := range []*net.TCPConn{one, other} { // so that little of a transfer lies in the kernel
		_ = c.SetReadBuffer(32 << 10)
		_ = c.SetWriteBuffer(32 << 10)
	}
	return one, other
}

// way is a whole tunnel: program, near end, relay, far end, server.
type way struct {
	program, server *net.TCPConn
	near, far       *net.TCPConn // what the legs run over, at the relay
	cut             context.CancelCauseFunc
	results         map[string]*Result
	done            sync.WaitGroup
}

func build(t testing.TB) *way {
	t.Helper()
	w := &way{results: map[string]*Result{"near": {}, "relay": {}, "far": {}}}
	program, nearLocal := pair(t)
	farLocal, server := pair(t)
	nearEnd, nearRelay := pair(t)
	farRelay, farEnd := pair(t)
	w.program, w.server, w.near, w.far = program, server, nearRelay, farRelay
	ctx, cancel := context.WithCancelCause(context.Background())
	w.cut = cancel
	w.done.Go(func() { *w.results["near"] = Stream(context.Background(), nearLocal, nearEnd) })
	w.done.Go(func() { *w.results["relay"] = Relay(context.Background(), nearRelay, farRelay, false, nil) })
	w.done.Go(func() { *w.results["far"] = Stream(ctx, farLocal, farEnd) })
	t.Cleanup(func() { cancel(nil); w.done.Wait() })
	return w
}

// wait returns when the whole tunnel has ended.
func (w *way) wait() { w.done.Wait() }

func TestBothHalvesEnd(t *testing.T) {
	w := build(t)
	up := bytes.Repeat([]byte("up"), 1<<20)
	down := bytes.Repeat([]byte("down"), 1<<18)
	var work sync.WaitGroup
	work.Go(func() {
		got, err := io.ReadAll(w.server) // whole, before anything is answered: the half that is closed is passed on
		if err != nil || !bytes.Equal(got, up) {
			t.Errorf("the server got %d bytes, %v", len(got), err)
		}
		_, _ = w.server.Write(down)
		_ = w.server.Close()
	})
	if _, err := w.program.Write(up); err != nil {
		t.Fatal(err)
	}
	_ = w.program.CloseWrite()
	got, err := io.ReadAll(w.program)
	if err != nil || !bytes.Equal(got, down) {
		t.Errorf("the program got %d bytes, %v", len(got), err)
	}
	work.Wait()
	w.wait()
	for name, r := range w.results {
		sent, received := int64(len(up)), int64(len(down))
		if name == "far" {
			sent, received = received, sent
		}
		if r.Err != nil || r.Outcome != wire.OutcomeComplete || r.Sent != sent || r.Received != received {
			t.Errorf("%s: %+v", name, *r)
		}
	}
}

// TestTheServerEndsFirst: a half that the other side closes is passed on, too, and this one may go on.
func TestTheServerEndsFirst(t *testing.T) {
	w := build(t)
	_ = w.server.CloseWrite()
	if got, err := io.ReadAll(w.program); len(got) > 0 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, _ = io.WriteString(w.program, "still here")
	_ = w.program.Close()
	if got, err := io.ReadAll(w.server); string(got) != "still here" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	w.wait()
	for name, r := range w.results {
		if r.Err != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

// TestCuts: whatever breaks, wherever, both sides see an error and not an end, and all three ends say so.
func TestCuts(t *testing.T) {
	reset := func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() }
	for name, cut := range map[string]func(*way){
		"the server resets":      func(w *way) { reset(w.server) },
		"the program resets":     func(w *way) { reset(w.program) },
		"the near leg is reset":  func(w *way) { reset(w.near) },
		"the near leg is closed": func(w *way) { _ = w.near.Close() },
		"the far leg is reset":   func(w *way) { reset(w.far) },
		"the far leg is closed":  func(w *way) { _ = w.far.Close() },
		"the pod goes":           func(w *way) { w.cut(&EndedError{Outcome: wire.OutcomeGone, Why: "pod web-0"}) },
		"the agent stops":        func(w *way) { w.cut(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t)
			_, _ = io.WriteString(w.program, "hello")
			if _, err := io.ReadFull(w.server, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(w.server, "there")
			if _, err := io.ReadFull(w.program, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			cut(w)
			for side, conn := range map[string]*net.TCPConn{"program": w.program, "server": w.server} {
				if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("the %s sees %v, which passes for an end", side, err)
				}
			}
			w.wait()
			for end, r := range w.results {
				var c *CutError
				if !errors.As(r.Err, &c) || c.Received != 5 || c.Sent != 5 || !strings.Contains(c.Error(), "incomplete at byte 5") {
					t.Errorf("%s: %+v", end, r)
				}
				if name == "the pod goes" && (r.Outcome != wire.OutcomeGone || !strings.Contains(r.Err.Error(), "pod web-0")) {
					t.Errorf("%s does not say why: %v", end, r.Err)
				}
			}
		})
	}
}

// TestNoSilentTruncation cuts transfers at random bytes, in random places. Either the whole came, byte for byte, or everybody has an error.
func TestNoSilentTruncation(t *testing.T) {
	const most = 16 << 20
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	whole := make([]byte, most)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(whole)
	random := rand.New(source)
	cuts, silent := 0, 0
	for round := range rounds {
		size := 1 + random.IntN(most>>random.IntN(12))
		at := random.IntN(size + size/4) // now and then it is all over before
		w := build(t)
		from, to := w.server, w.program
		near, far := w.results["near"], w.results["far"]
		if round%2 == 1 {
			from, to = to, from
		}
		victims := []*net.TCPConn{w.near, w.far, from}
		victim, hard := victims[random.IntN(len(victims))], random.IntN(2) == 0
		var sending sync.WaitGroup
		sending.Go(func() {
			_, _ = io.Copy(from, bytes.NewReader(whole[:size]))
			_ = from.CloseWrite()
		})
		hash := sha256.New()
		n, err := io.CopyN(hash, to, int64(at))
		if err == nil {
			if hard || victim == from {
				_ = victim.SetLinger(0)
			}
			_ = victim.Close()
			var more int64
			more, err = io.Copy(hash, to)
			n += more
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
		_ = to.Close()
		_ = from.CloseRead()
		sending.Wait()
		_ = from.Close()
		w.wait()
		want := sha256.Sum256(whole[:size])
		complete := n == int64(size) && bytes.Equal(hash.Sum(nil), want[:])
		if err != nil {
			cuts++
		} else if !complete {
			silent++
			t.Errorf("round %d: %d of %d bytes came, and nobody said so", round, n, size)
		}
		if !complete && (near.Err == nil || far.Err == nil) {
			t.Errorf("round %d: %d of %d bytes came; near: %v, far: %v", round, n, size, near.Err, far.Err)
		}
	}
	if cuts < rounds/4 {
		t.Errorf("only %d of %d were cut", cuts, rounds)
	}
	t.Logf("%d rounds, %d cut, %d silently", rounds, cuts, silent)
}

// TestAStuckEndEnds: an end that is told to stop does not wait for one that takes nothing any more.
func TestAStuckEndEnds(t *testing.T) {
	program, local := pair(t)
	tunnel, other := pair(t) // nobody reads there
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan Result)
	go func() { result <- Stream(ctx, local, tunnel) }()
	go func() { _, _ = io.Copy(program, endless{}) }()
	var idle sync.WaitGroup
	idle.Go(func() { // until nothing more moves
		for last := int64(-1); ; time.Sleep(20 * time.Millisecond) {
			var now int64
			raw, _ := other.SyscallConn()
			_ = raw.Control(func(fd uintptr) { now = unread(fd) })
			if now == last && now > 0 {
				return
			}
			last = now
		}
	})
	idle.Wait()
	cancel()
	if r := <-result; r.Outcome != wire.OutcomeStopped || r.Err == nil {
		t.Errorf("%+v", r)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
