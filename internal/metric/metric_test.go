package metric

import (
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, s *Set) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, nil)
	if got := recorder.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("got %s", got)
	}
	return recorder.Body.String()
}

func TestFamilies(t *testing.T) {
	name := regexp.MustCompile(`^pipeops_(agent|gateway)(_[a-z]+)+$`)
	for _, list := range [][]Family{Agent(), Gateway()} {
		seen := map[string]bool{}
		for _, f := range list {
			if !name.MatchString(f.Name) || seen[f.Name] || !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s: %q", f.Name, f.Help)
			}
			seen[f.Name] = true
			if (f.Kind == Counter) != strings.HasSuffix(f.Name, "_total") {
				t.Errorf("%s is a %s", f.Name, f.Kind)
			}
			for _, l := range f.Labels {
				if slices.Contains([]string{"user", "path", "cluster", "namespace", "remote", "machine"}, l.Name) || len(l.Values) == 0 {
					t.Errorf("%s has the label %s of %d values: there is no bound to how many series it makes", f.Name, l.Name, len(l.Values))
				}
			}
		}
	}
}

func TestWhatIsNotDeclaredMakesNoSeries(t *testing.T) {
	s := New(Gateway())
	for i := range 1000 {
		s.Add(GatewayPrefix+Requests, 1, strings.Repeat("x", i), "200")
		s.Add(GatewayPrefix+Requests+"x", 1)
		s.Add(GatewayPrefix+Requests, 1) // labels are missing
		s.Observe(GatewayPrefix+Requests, 1, KindKube, "2xx")
		s.Read(GatewayPrefix+RequestTime, func() float64 { return 1 }, KindKube)
	}
	got := read(t, s)
	if want := GatewayPrefix + `_requests_total{kind="other",status="other"} 1000` + "\n"; !strings.Contains(got, want) || strings.Count(got, GatewayPrefix+Requests+"{") != 1 {
		t.Errorf("got %s", got)
	}
	var none *Set
	none.Add("x", 1)
	if got := read(t, none); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestCounts(t *testing.T) {
	s := New(Agent())
	c := RequestCounter{Set: s, Prefix: AgentPrefix}
	end := c.Begin()
	if c.Open() != 1 {
		t.Error("nothing is open")
	}
	end(KindKube, 200, "", 10, 20)
	c.Begin()(KindWatch, 200, "", 0, 1)
	c.Begin()(KindKube, 429, "LIMIT_USER", -1, 0)
	c.Begin()(KindKube, 0, "cut", 0, 0)
	s.Read(AgentPrefix+RequestsOpen, func() float64 { return float64(c.Open()) })
	s.Read(AgentPrefix+RequestsOpen, func() float64 { return 7 }) // the last one counts
	got := read(t, s)
	for _, want := range []string{
		"# HELP pipeops_agent_requests_total ", "# TYPE pipeops_agent_requests_total counter\n",
		`pipeops_agent_requests_total{kind="kube",status="2xx"} 1`, `pipeops_agent_requests_total{kind="kube",status="4xx"} 1`,
		`pipeops_agent_requests_total{kind="kube",status="none"} 1`, `pipeops_agent_requests_refused_total{code="LIMIT_USER"} 1`,
		`pipeops_agent_request_bytes_total{direction="in",kind="kube"} 10`, `pipeops_agent_request_bytes_total{direction="out",kind="watch"} 1`,
		`pipeops_agent_request_duration_seconds_count{kind="kube"} 3`, `pipeops_agent_request_duration_seconds_bucket{kind="kube",le="+Inf"} 3`,
		"pipeops_agent_requests_open 7\n", "pipeops_agent_sessions_began_total 0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if strings.Contains(got, `duration_seconds_count{kind="watch"}`) {
		t.Error("what lasts has a duration")
	}
	s.Observe(AgentPrefix+RequestTime, math.MaxFloat64, KindKube)
	for r, want := range map[*http.Request]string{
		{Method: http.MethodConnect}: KindConnect, {Method: "GET", Header: http.Header{"Upgrade": {"websocket"}}}: KindUpgrade,
	} {
		if got := KindOf(r, "get", ""); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
