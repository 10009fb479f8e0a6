package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/audit"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
)

// recorded returns the records that are wanted of the audit log of the gateway to which users come.
func (r *road) recorded(wants func(audit.Record) bool) []audit.Record {
	files, err := audit.Files(gateway.AuditDir(r.door.Data))
	if err != nil {
		r.agent.t.Fatal(err)
	}
	var found []audit.Record
	if err := audit.Read(files, func(record audit.Record) error {
		if wants(record) {
			found = append(found, record)
		}
		return nil
	}); err != nil {
		r.agent.t.Fatal(err)
	}
	return found
}

// hold opens a watch and returns its end.
func (r *road) hold(ctx context.Context) (end func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	response, err := r.user.client.Do(r.user.request(http.MethodGet, "/watch", nil).WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		cancel()
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return func() {
		cancel()
		_ = response.Body.Close()
	}, nil
}

func TestLimitPerUser(t *testing.T) {
	road := build(t)
	road.restart(gateway.Limits{User: 3})
	var ends []func()
	for range 3 {
		end, err := road.hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	response, err := road.user.client.Do(road.user.request(http.MethodGet, "/echo", nil))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" || response.Header.Get("Pipeops-Limit") != "requests=3, open=3" {
		t.Errorf("got %d, %v", response.StatusCode, response.Header)
	}
	has(t, string(raw), `"reason":"TooManyRequests"`)
	has(t, string(raw), "3 requests open, of 3")
	other := login(t, road.door, "shop", "bob")
	if status, body := other.get("/echo"); status != http.StatusOK {
		t.Errorf("another user gets %d %s", status, body)
	}
	ends[0]() // what runs was not ended, and what ends makes room
	road.gateway.Wait("there is room again", func() bool { status, _ := road.user.get("/echo"); return status == http.StatusOK })
	road.server.next <- "still here"
	for _, end := range ends {
		end()
	}
	road.gateway.Wait("the refusal is recorded", func() bool {
		return len(road.recorded(func(r audit.Record) bool { return r.Result != nil && r.Reason == "LIMIT_USER" && r.Status == 429 })) > 0
	})
}

func TestLimitPerAgent(t *testing.T) {
	road := build(t)
	road.restart(gateway.Limits{Agent: 2})
	for range 2 {
		end, err := road.hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer end()
	}
	other := login(t, road.door, "shop", "bob")
	status, body := other.get("/echo")
	if status != http.StatusTooManyRequests {
		t.Errorf("got %d", status)
	}
	has(t, body, "2 requests are on their way")
	if info, _ := road.gateway.Cluster("shop"); !info.Connected {
		t.Error("the session was ended")
	}
}

// upgrade asks for a change of protocol, on a connection that lasts as long as the test.
func (r *road) upgrade(path string) *bufio.Reader {
	t := r.agent.t
	t.Helper()
	conn, err := tls.Dial("tcp", r.door.Address, &tls.Config{RootCAs: r.user.client.Transport.(*http.Transport).TLSClientConfig.RootCAs, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = fmt.Fprintf(conn, "GET /v1/clusters/shop%s HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", path, r.user.token)
	return bufio.NewReader(conn)
}

// answered returns the first line of an answer.
func answered(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// An upgrade that is not answered takes the room of one that is being opened; once it is, only that of a request.
func TestLimitOfDials(t *testing.T) {
	road := build(t)
	road.restart(gateway.Limits{Dials: 1})
	for range 3 { // each is answered, and so the next has room
		if line := answered(t, road.upgrade("/upgrade/SPDY_3.1")); !strings.Contains(line, "101") {
			t.Fatalf("got %s", line)
		}
	}
	road.upgrade("/never")
	road.gateway.Wait("it is being opened", func() bool { return road.server.never.Load() > 0 })
	if line := answered(t, road.upgrade("/upgrade/SPDY_3.1")); !strings.Contains(line, "429") {
		t.Errorf("got %s", line)
	}
}

// TestLimitOfWhatLasts: who has filled the room of a user, or of a machine, with what lasts can still look.
func TestLimitOfWhatLasts(t *testing.T) {
	for name, tt := range map[string]struct {
		limits gateway.Limits
		want   string
	}{
		"user":    {gateway.Limits{User: 10}, "alice has 9 requests that last open, of 9"},
		"machine": {gateway.Limits{Agent: 10}, "9 requests that last are on their way to it, of 9"},
	} {
		t.Run(name, func(t *testing.T) {
			road := build(t)
			road.restart(tt.limits)
			for range 9 {
				if line := answered(t, road.upgrade("/upgrade/SPDY_3.1")); !strings.Contains(line, "101") {
					t.Fatalf("got %s", line)
				}
			}
			if line := answered(t, road.upgrade("/upgrade/SPDY_3.1")); !strings.Contains(line, "429") {
				t.Errorf("one more that lasts: got %s", line)
			}
			status, body := road.user.get("/api/v1/pods?watch=true")
			if status != http.StatusTooManyRequests {
				t.Errorf("a watch: got %d", status)
			}
			has(t, body, tt.want)
			if status, body := road.user.get("/echo"); status != http.StatusOK {
				t.Errorf("a look gets %d %s", status, body)
			}
		})
	}
}

// Who is nobody is counted, not recorded one by one: else anybody could push out what is recorded.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	road := build(t)
	nobody := *road.user
	nobody.token = "put_0.x"
	for range 50 {
		if status, _ := nobody.get("/echo"); status != http.StatusUnauthorized {
			t.Fatalf("got %d", status)
		}
		if status, _ := nobody.get("/a//../b"); status != http.StatusBadRequest {
			t.Fatalf("got %d", status)
		}
	}
	if status, _ := road.user.get("/echo"); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
	road.gateway.Wait("it is recorded", func() bool {
		return len(road.recorded(func(r audit.Record) bool { return r.Path == "/echo" && r.Result != nil })) == 1
	})
	notes := road.recorded(func(r audit.Record) bool {
		return r.Kind == audit.KindNote && strings.Contains(r.Note, "without a user token")
	})
	if len(notes) != 1 || notes[0].Remote == "" {
		t.Errorf("got %+v", notes)
	}
	if all := road.recorded(func(r audit.Record) bool { return r.User == "" && r.Result != nil }); len(all) > 0 {
		t.Errorf("requests of nobody are recorded: %+v", all)
	}
	admin := road.recorded(func(r audit.Record) bool { return r.User == "administrator" })
	if len(admin) == 0 || admin[0].Path == "" || admin[0].Status != 200 {
		t.Errorf("what administrators do is not recorded: %+v", admin)
	}
}

// TestBytesThroughTheTunnel: with limits on bytes everything comes whole: bodies both ways, and connections after an upgrade, of which one
// direction may end before the other; and the user is told of the limit.
func TestBytesThroughTheTunnel(t *testing.T) {
	road := build(t)
	const most = 1 << 20
	road.restart(gateway.Limits{UserBytes: most, AgentBytes: 2 * most})
	body := strings.Repeat("0123456789abcdef", most/2/16)
	for range 2 { // each way counts, so that the second has to wait
		response, err := road.user.client.Do(road.user.request(http.MethodPost, "/body", strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(got) != body {
			t.Fatalf("status %d, %d bytes of %d, %v", response.StatusCode, len(got), len(body), err)
		}
		if want := fmt.Sprintf("bytes_per_second=%d", most); !strings.Contains(response.Header.Get("Pipeops-Limit"), want) {
			t.Errorf("the limit is told as %q", response.Header.Get("Pipeops-Limit"))
		}
	}
	conn, err := tls.Dial("tcp", road.gateway.Address, &tls.Config{RootCAs: road.user.client.Transport.(*http.Transport).TLSClientConfig.RootCAs, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "GET /v1/clusters/shop/upgrade/SPDY_3.1 HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", road.user.token)
	answer := bufio.NewReader(conn)
	status, err := http.ReadResponse(answer, nil)
	if err != nil || status.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", status, err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, body[:most/4])
		sent <- err
	}()
	echoed := make([]byte, most/4)
	if _, err := io.ReadFull(answer, echoed); err != nil || string(echoed) != body[:most/4] || <-sent != nil {
		t.Errorf("the connection gave %d bytes, %v", len(echoed), err)
	}
}
