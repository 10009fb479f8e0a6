package carry

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// echo answers every datagram with itself until the test ends.
func echo(t *testing.T) net.Addr {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:n], from)
		}
	})
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return server.LocalAddr()
}

// TestDatagramsKeepTheirBorders: what was one datagram is one at the other side, of whatever size.
func TestDatagramsKeepTheirBorders(t *testing.T) {
	server := echo(t)
	far, err := net.Dial("udp", server.String())
	if err != nil {
		t.Fatal(err)
	}
	inside, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	outside, err := net.Dial("udp", inside.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := net.DialUDP("udp", nil, outside.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	_ = inside.Close()
	_ = outside.Close()
	program, err := net.DialUDP("udp", outside.LocalAddr().(*net.UDPAddr), near.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	nearEnd, nearRelay := pair(t)
	farRelay, farEnd := pair(t)
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	budget := &Budget{Most: 1 << 20}
	results := make([]Result, 3)
	work.Go(func() { results[0] = Datagrams(ctx, near, nearEnd, time.Hour, budget) })
	work.Go(func() { results[1] = Relay(context.Background(), nearRelay, farRelay, true, budget) })
	work.Go(func() { results[2] = Datagrams(context.Background(), far, farEnd, time.Hour, budget) })
	buf := make([]byte, 1<<16)
	for n, size := range []int{0, 1, 1200, 1200, 65507, 3, 9000, 1200} {
		said := bytes.Repeat([]byte{byte('a' + n)}, size)
		if _, err := program.Write(said); err != nil {
			t.Fatal(err)
		}
		_ = program.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := program.Read(buf)
		if err != nil || !bytes.Equal(buf[:got], said) {
			t.Fatalf("datagram %d of %d bytes came back with %d, %v", n, size, got, err)
		}
	}
	came, last := 0, int64(-1)
	for burst := range uint32(50) { // several at once: those that come are whole, in order, and none comes twice
		for n := range uint32(16) {
			said := make([]byte, 1200)
			binary.BigEndian.PutUint32(said, burst*16+n)
			_, _ = program.Write(said)
		}
		for last < int64(burst*16+15) {
			_ = program.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			got, err := program.Read(buf)
			if err != nil {
				break // a busy machine may have dropped it for its age
			}
			n := int64(binary.BigEndian.Uint32(buf))
			if got != 1200 || n <= last {
				t.Fatalf("%d bytes, number %d after %d", got, n, last)
			}
			last = n
			came++
		}
	}
	if came < 400 {
		t.Errorf("only %d of 800 came back", came)
	}
	cancel()
	work.Wait()
	_ = program.Close()
	for n, r := range results {
		if r.Outcome != wire.OutcomeStopped || r.Err == nil {
			t.Errorf("%d: %+v", n, r)
		}
	}
	if left := budget.used.Load(); left != 0 {
		t.Errorf("%d bytes of the budget are not given back", left)
	}
}

// silent is a connection on which nothing comes.
type silent struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (s *silent) Read([]byte) (int, error)    { <-s.closed; return 0, net.ErrClosed }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }
func (s *silent) Close() error                { s.once.Do(func() { close(s.closed) }); return nil }

// TestIdleFlowsEnd: after two minutes without a datagram in either direction, and not before, at both ends, and that is no fault.
func TestIdleFlowsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, other := net.Pipe()
		program, local := net.Pipe()
		results := make(chan Result, 2)
		go func() {
			results <- Datagrams(context.Background(), local, one, DefaultIdle, nil)
		}()
		go func() {
			results <- Datagrams(context.Background(), &silent{closed: make(chan struct{})}, other, time.Hour, nil)
		}()
		began := time.Now()
		for range 3 {
			time.Sleep(DefaultIdle - time.Second)
			_, _ = program.Write([]byte("still here"))
		}
		for range 2 {
			r := <-results
			if r.Outcome != wire.OutcomeIdle || r.Err != nil {
				t.Errorf("%+v", r)
			}
		}
		if took := time.Since(began); took != 3*(DefaultIdle-time.Second)+DefaultIdle {
			t.Errorf("it took %v", took)
		}
		_ = program.Close()
	})
}

// TestWhatIsOldIsDropped: the oldest goes first where there is no room, what waited too long is never sent, and what is fresh is.
func TestWhatIsOldIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := &Budget{Most: 1 << 30}
		q := newQueue(budget)
		done := make(chan struct{})
		record := func(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
		const room = maxWaiting / (4 + datagramCost)
		for n := range room + 10 {
			q.put(record(n))
		}
		if got := binary.BigEndian.Uint32(q.next(done)); got != 10 {
			t.Errorf("the first is %d", got)
		}
		time.Sleep(maxAge + time.Millisecond)
		q.put(record(1 << 20))
		if got := binary.BigEndian.Uint32(q.next(done)); got != 1<<20 {
			t.Errorf("then comes %d, which is old", got)
		}
		if dropped := q.close(); dropped != 10+room-1 {
			t.Errorf("%d were dropped", dropped)
		}
		if left := budget.used.Load(); left != 0 {
			t.Errorf("%d bytes are not given back", left)
		}
		tight := newQueue(&Budget{Most: 100})
		for n := range 5 {
			tight.put(record(n))
		}
		if got := binary.BigEndian.Uint32(tight.next(done)); got != 4 {
			t.Errorf("beyond the budget %d is the first", got)
		}
		close(done)
		if got := tight.next(done); got != nil {
			t.Errorf("%v after the end", got)
		}
	})
}

// TestASlowWayDoesNotGrowOld: where the way takes one datagram each 50 ms and one comes each 5 ms, none that arrives is older than the limit.
func TestASlowWayDoesNotGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		program, local := net.Pipe()
		one, other := net.Pipe()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan Result)
		go func() { done <- Datagrams(ctx, local, one, time.Hour, nil) }()
		began := time.Now()
		go func() {
			for range 400 {
				_, _ = program.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Since(began))))
				time.Sleep(5 * time.Millisecond)
			}
		}()
		in := newReader(other, maxDatagram)
		for n := range 30 {
			time.Sleep(50 * time.Millisecond)
			kind, whole, err := in.next()
			if err != nil || kind != wire.RecordData {
				t.Fatal(kind, err)
			}
			// the one that is being written has left the queue: it may be older by what writing takes
			if age := time.Since(began) - time.Duration(binary.BigEndian.Uint64(whole[wire.RecordHeader:])); age > maxAge+55*time.Millisecond {
				t.Errorf("datagram %d is %v old", n, age)
			}
		}
		go func() { _, _ = io.Copy(io.Discard, other); _ = other.Close() }()
		cancel()
		time.Sleep(closeTime)
		if r := <-done; r.Dropped < 200 {
			t.Errorf("%d were dropped", r.Dropped)
		}
		_ = program.Close()
		_ = other.Close()
		time.Sleep(3 * time.Second)
	})
}

func FuzzReader(f *testing.F) {
	f.Add(append(wire.Close{Outcome: wire.OutcomeGone}.Record(), 0, 0, 1, 'x'), uint8(3))
	f.Add(append([]byte{0, 0, 2, 'a', 'b'}, wire.EndRecord(2)...), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		in := newReader(&pieces{raw, int(piece)%7 + 1}, 1000)
		var all []byte
		for {
			kind, whole, err := in.next()
			if err != nil {
				if err == io.EOF && len(all) != len(raw) {
					t.Fatalf("an end after %d of %d bytes", len(all), len(raw))
				}
				return
			}
			if kind > wire.RecordClose || len(whole) > wire.RecordHeader+1000 {
				t.Fatalf("kind %d, %d bytes", kind, len(whole))
			}
			all = append(all, whole...)
			if !bytes.HasPrefix(raw, all) {
				t.Fatal("it is not what came")
			}
		}
	})
}

// pieces gives some bytes at a time.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.rest[:min(p.size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}
