package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/metric"
)

// metrics returns what the gateway to which users come counts.
func (r *road) metrics() string {
	r.agent.t.Helper()
	var out strings.Builder
	if err := r.door.Admin.Metrics(r.agent.t.Context(), &out); err != nil {
		r.agent.t.Fatal(err)
	}
	return out.String()
}

func TestGatewayCounts(t *testing.T) {
	road := build(t)
	if road.door != road.gateway {
		road.door.Wait("it has a session of its own", func() bool { return road.agent.stood() > 0 })
	}
	end, err := road.hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := road.user.get("/echo?secret=x"); status != http.StatusOK {
		t.Fatalf("got %d", status)
	}
	if status, _ := road.user.get("/none"); status != http.StatusNotFound {
		t.Fatalf("got %d", status)
	}
	nobody := *road.user
	nobody.token = ""
	if status, _ := nobody.get("/echo"); status != http.StatusUnauthorized {
		t.Fatalf("got %d", status)
	}
	wants := []string{
		`pipeops_gateway_sessions{transport="tls"} 1`, "pipeops_gateway_requests_open 1\n", `pipeops_gateway_requests_total{kind="kube",status="2xx"} 1`,
		`pipeops_gateway_requests_total{kind="kube",status="4xx"} 2`, `pipeops_gateway_request_duration_seconds_count{kind="kube"} 3`,
		"pipeops_gateway_sessions_began_total 1\n", "pipeops_gateway_buffer_budget_bytes 33554432\n", "pipeops_gateway_audit_up 1\n",
		`pipeops_gateway_certificate_expiry_timestamp_seconds{of="ca"}`, `pipeops_gateway_build_info{version="`,
	}
	defer func() {
		if t.Failed() {
			t.Log(road.metrics())
		}
	}()
	road.gateway.Wait("it is counted", func() bool {
		got := road.metrics()
		for _, want := range wants {
			if !strings.Contains(got, want) {
				return false
			}
		}
		return true
	})
	got := road.metrics()
	if streams := "\npipeops_gateway_streams_open "; !strings.Contains(got, streams) || strings.Contains(got, streams+"0\n") {
		t.Errorf("no stream is open in %s", got)
	}
	for _, foreign := range []string{"alice", "/echo", "shop", "127.0.0.1"} {
		if strings.Contains(got, foreign) {
			t.Errorf("%s is among the metrics", foreign)
		}
	}
	declared := map[string]bool{}
	for _, f := range metric.Gateway() {
		declared[f.Name] = true
	}
	for line := range strings.Lines(got) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# HELP "), " ")
		if strings.HasPrefix(line, "# HELP ") && !declared[name] {
			t.Errorf("%s is not declared", name)
		}
	}
	end()
	road.agent.stop()
	road.gateway.WaitConnected("shop", false)
	road.gateway.Wait("the end of the session has a reason", func() bool {
		return strings.Contains(road.metrics(), `pipeops_gateway_sessions_ended_total{code="SESSION_LOST"} 1`)
	})
}

// Ready is a cluster whose API server was reached by the way that users take.
func TestCheckGoesTheWholeWay(t *testing.T) {
	road := build(t)
	check, err := road.gateway.Admin.Check(t.Context(), "shop")
	if err != nil || !check.OK || check.Machine == "" {
		t.Errorf("got %+v, %v", check, err)
	}
	road.server.sick.Store(true)
	if check, err = road.gateway.Admin.Check(t.Context(), "shop"); err != nil || check.OK || !strings.Contains(check.Says, "etcd") {
		t.Errorf("the API server is not ready: %+v, %v", check, err)
	}
	road.agent.stop()
	road.gateway.WaitConnected("shop", false)
	if check, err = road.gateway.Admin.Check(t.Context(), "shop"); err != nil || check.OK || check.Says == "" {
		t.Errorf("nobody is connected: %+v, %v", check, err)
	}
}
