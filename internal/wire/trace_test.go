package wire

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestTraceOf(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	long := strings.Repeat("k=v,", 200)
	tests := []struct {
		name   string
		parent []string
		state  []string
		ok     bool
		keeps  bool // the state
	}{
		{"good", []string{good}, []string{"a=1, b@x=2", "c=3"}, true, true},
		{"no state", []string{good}, nil, true, false},
		{"a later version", []string{"cc" + good[2:] + "-what-comes"}, nil, true, false},
		{"none", nil, []string{"a=1"}, false, false},
		{"two", []string{good, good}, nil, false, false},
		{"version ff", []string{"ff" + good[2:]}, nil, false, false},
		{"too long for its version", []string{good + "-x"}, nil, false, false},
		{"a later version without a dash", []string{"cc" + good[2:] + "x"}, nil, false, false},
		{"upper case", []string{strings.ToUpper(good)}, nil, false, false},
		{"no trace", []string{"00-" + strings.Repeat("0", 32) + good[35:]}, nil, false, false},
		{"no parent", []string{good[:36] + strings.Repeat("0", 16) + good[52:]}, nil, false, false},
		{"far too long", []string{"cc" + good[2:] + "-" + strings.Repeat("x", 1000)}, nil, false, false},
		{"state too long", []string{good}, []string{long}, true, false},
		{"state of too many", []string{good}, []string{strings.Repeat("k=v,", 33)}, true, false},
		{"state without value", []string{good}, []string{"a"}, true, false},
		{"state with control characters", []string{good}, []string{"a=\x01"}, true, false},
		{"state with an upper-case key", []string{good}, []string{"A=1"}, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := http.Header{}
			if tt.parent != nil {
				in["Traceparent"] = tt.parent
			}
			if tt.state != nil {
				in["Tracestate"] = tt.state
			}
			trace, ok := TraceOf(in)
			if ok != tt.ok {
				t.Fatalf("ok = %v", ok)
			}
			if !ok {
				return
			}
			out := http.Header{"Tracestate": {"of another"}}
			trace.Set(out)
			if !reflect.DeepEqual(out["Traceparent"], tt.parent) || trace.ID() != tt.parent[0][3:35] {
				t.Errorf("got %q, id %s", out, trace.ID())
			}
			if want := map[bool][]string{true: tt.state}[tt.keeps]; !reflect.DeepEqual(out["Tracestate"], want) {
				t.Errorf("got state %q, want %q", out["Tracestate"], want)
			}
		})
	}
	made := http.Header{}
	NewTrace().Set(made)
	if trace, ok := TraceOf(made); !ok || trace.ID() == NewTrace().ID() {
		t.Errorf("a trace that was made is none, or twice the same: %q", made)
	}
	if !ValidRequestID(NewRequestID()) || ValidRequestID("") || ValidRequestID(strings.Repeat("A", 32)) {
		t.Error("ids of requests")
	}
}

func FuzzTraceOf(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1, b@x=2")
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", ",,=,")
	f.Fuzz(func(t *testing.T, parent, state string) {
		trace, ok := TraceOf(http.Header{"Traceparent": {parent}, "Tracestate": {state}})
		if !ok {
			return
		}
		out := http.Header{}
		trace.Set(out)
		again, ok := TraceOf(out)
		if !ok || !reflect.DeepEqual(again, trace) || !lowerHex(trace.ID(), 32) {
			t.Errorf("%q %q becomes %q", parent, state, out)
		}
		for _, values := range out {
			for _, v := range values {
				if len(v) > maxState || strings.ContainsAny(v, "\r\n\x00") {
					t.Errorf("%q goes on", v)
				}
			}
		}
	})
}
