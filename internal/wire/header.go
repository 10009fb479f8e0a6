package wire

import (
	"net/http"
	"slices"
	"strings"
)

// kubeHeaders returns the request headers that have a meaning to the Kubernetes API and give nobody any right.
func kubeHeaders() []string {
	return []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Type", "Content-Encoding", "User-Agent",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
	}
}

// upgradeHeaders returns what a request needs besides to change the protocol.
func upgradeHeaders() []string {
	return []string{"Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Extensions", streamVersion}
}

const (
	subprotocol = "Sec-Websocket-Protocol"
	// streamVersion is what the SPDY of Kubernetes has for a subprotocol.
	streamVersion = "X-Stream-Protocol-Version"
	// bearerSubprotocol is how browsers hand a token to the Kubernetes API; through a tunnel nobody but the agent may.
	bearerSubprotocol = "base64url.bearer."
)

// KubeHeader builds the header of a request to the Kubernetes API from nothing: it copies what is known to be harmless
// and leaves all else behind, whatever its spelling. upgrade is the protocol that the request changes to, if any.
func KubeHeader(in http.Header) (out http.Header, upgrade string, ok bool) {
	out = http.Header{}
	copyHeader(out, in, kubeHeaders())
	if trace, ok := TraceOf(in); ok {
		trace.Set(out)
	}
	upgrade, ok = UpgradeOf(in)
	if !ok || upgrade == "" {
		return out, "", ok
	}
	copyHeader(out, in, upgradeHeaders())
	for _, p := range tokens(in[subprotocol]) {
		if !strings.HasPrefix(strings.ToLower(p), bearerSubprotocol) {
			out.Add(subprotocol, p)
		}
	}
	out.Set("Connection", "Upgrade")
	out.Set("Upgrade", upgrade)
	return out, upgrade, true
}

func copyHeader(out, in http.Header, names []string) {
	for _, name := range names {
		if v := in[name]; len(v) > 0 {
			out[name] = append([]string(nil), v...)
		}
	}
}

// UpgradeOf returns the protocol that a request or an answer changes to, "" for none. It is not ok if the protocol is
// none of those that the Kubernetes API speaks, or if several are named.
func UpgradeOf(h http.Header) (protocol string, ok bool) {
	asked := false
	for _, t := range tokens(h["Connection"]) {
		asked = asked || strings.EqualFold(t, "upgrade")
	}
	if !asked {
		return "", true
	}
	names := tokens(h["Upgrade"])
	if len(names) != 1 {
		return "", false
	}
	for _, known := range []string{"SPDY/3.1", "websocket"} {
		if strings.EqualFold(names[0], known) {
			return known, true
		}
	}
	return "", false
}

// UpgradeAgrees reports whether an answer 101 is what the request asked for: the same protocol, and at most one subprotocol, out
// of those that were offered.
func UpgradeAgrees(request, answer http.Header) bool {
	want, ok1 := UpgradeOf(request)
	got, ok2 := UpgradeOf(answer)
	if !ok1 || !ok2 || want == "" || want != got {
		return false
	}
	return chosen(request, answer, subprotocol) && chosen(request, answer, streamVersion)
}

// chosen reports whether an answer takes none of what a header of the request offers, or one.
func chosen(request, answer http.Header, name string) bool {
	got := tokens(answer[name])
	return len(got) == 0 || len(got) == 1 && slices.Contains(tokens(request[name]), got[0])
}

// tokens splits comma-separated header lines.
func tokens(lines []string) []string {
	var out []string
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}
