package gatewaytest

import "strings"

// Form is one way in which a user of the Kubernetes API may try to be somebody else, or to be let through to somewhere else.
type Form struct {
	Name   string
	Header string // lines of the header as they go over the wire, each ended; "" for none
	Body   string // as it goes over the wire, after the header
}

func line(name, text string) Form { return Form{Name: name, Header: text + "\r\n"} }

// HeaderForms lists headers of requests over HTTP/1.1 that are malicious. None of them may change as whom the API server is asked.
func HeaderForms() []Form {
	const admin, masters = "Impersonate-User: system:admin\r\n", "Impersonate-Group: system:masters\r\n"
	chunked := func(trailer string) string { return "2\r\n{}\r\n0\r\n" + trailer + "\r\n" }
	return []Form{
		// spelling
		line("plain", "Impersonate-User: system:admin"),
		line("lower case", "impersonate-user: system:admin"),
		line("upper case", "IMPERSONATE-USER: system:admin"),
		line("mixed case", "iMpErSoNaTe-UsEr: system:admin"),
		line("space before the colon", "Impersonate-User : system:admin"),
		line("tab before the colon", "Impersonate-User\t: system:admin"),
		line("space before the name", " Impersonate-User: system:admin"),
		line("tab before the name", "\tImpersonate-User: system:admin"),
		line("underscore", "Impersonate_User: system:admin"),
		line("dot", "Impersonate.User: system:admin"),
		line("no space after the colon", "Impersonate-User:system:admin"),
		line("NUL in the name", "Impersonate-User\x00: system:admin"),
		line("NUL in the value", "Impersonate-User: system:admin\x00"),
		line("a letter that lower case makes an i of", "\u0130mpersonate-User: system:admin"),
		line("a long s", "Imper\u017fonate-U\u017fer: system:admin"),
		line("a hyphen that is none", "Impersonate\u2010User: system:admin"),
		line("percent", "Impersonate%2DUser: system:admin"),
		// lines
		{Name: "twice", Header: "Impersonate-User: pipeops:alice\r\n" + admin},
		{Name: "twice, in two cases", Header: "Impersonate-User: pipeops:alice\r\nimpersonate-user: system:admin\r\n"},
		{Name: "folded", Header: "Accept: application/json\r\n " + admin},
		{Name: "folded by a tab", Header: "Accept: application/json\r\n\t" + admin},
		{Name: "folded value", Header: "Impersonate-User:\r\n system:admin\r\n"},
		{Name: "ended by a line feed", Header: "Accept: application/json\nImpersonate-User: system:admin\n"},
		{Name: "ended by a carriage return", Header: "Accept: application/json\rImpersonate-User: system:admin\r\n"},
		{Name: "no colon", Header: "Impersonate-User system:admin\r\n"},
		{Name: "no name", Header: ": system:admin\r\n"},
		{Name: "an empty user", Header: "Impersonate-User:\r\n"},
		// the others of the family
		line("group", "Impersonate-Group: system:masters"),
		{Name: "groups", Header: "Impersonate-Group: a\r\n" + masters + "Impersonate-Group: b\r\n"},
		line("a list of groups", "Impersonate-Group: pipeops:admins, system:masters"),
		line("uid", "Impersonate-Uid: 0"),
		line("uid, upper case", "IMPERSONATE-UID: 0"),
		line("extra", "Impersonate-Extra-Scopes: all"),
		line("extra, encoded", "Impersonate-Extra-authentication.kubernetes.io%2fcredential-id: x"),
		line("extra without a name", "Impersonate-Extra-: all"),
		{Name: "user, group, uid and extra", Header: admin + masters + "Impersonate-Uid: 0\r\nImpersonate-Extra-Scopes: all\r\n"},
		// what concerns one connection only
		{Name: "Connection names it", Header: "Connection: Impersonate-User\r\n"},
		{Name: "Connection names it, and it is there", Header: "Connection: Impersonate-User\r\n" + admin},
		{Name: "Connection, lower case", Header: "connection: impersonate-user, impersonate-group\r\n" + admin},
		{Name: "Connection with spaces", Header: "Connection:   close ,\t Impersonate-User  ,, Impersonate-Group\r\n" + admin},
		{Name: "Connection twice", Header: "Connection: keep-alive\r\nConnection: Impersonate-User\r\n" + admin},
		{Name: "Connection names ours", Header: "Connection: Pipeops-User, Pipeops-Group\r\n" + admin},
		{Name: "Connection names the token", Header: "Connection: Authorization\r\n" + admin},
		{Name: "Proxy-Connection", Header: "Proxy-Connection: Impersonate-User\r\n" + admin},
		{Name: "Keep-Alive", Header: "Keep-Alive: Impersonate-User\r\n" + admin},
		{Name: "TE", Header: "TE: trailers, Impersonate-User\r\n" + admin},
		// what stands for another header
		line("ours", "Pipeops-User: pipeops:mallory"),
		line("ours, lower case", "pipeops-user: system:admin"),
		line("our groups", "Pipeops-Group: system:masters"),
		line("request header authentication", "X-Remote-User: system:admin\r\nX-Remote-Group: system:masters\r\nX-Remote-Extra-Scopes: all"),
		line("a second token", "Authorization: Bearer stolen"),
		line("a token for a proxy", "Proxy-Authorization: Bearer stolen"),
		line("another method", "X-Http-Method-Override: DELETE"),
		line("another path", "X-Original-Url: /api/v1/secrets\r\nX-Rewrite-Url: /api/v1/secrets"),
		line("forwarded", "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: kubernetes\r\nX-Forwarded-Proto: http\r\nForwarded: for=127.0.0.1"),
		line("a second host", "Host: kubernetes.default"),
		line("a cookie", "Cookie: token=stolen"),
		line("a traceparent of sorts", "Baggage: impersonate-user=system:admin"),
		// the body
		{Name: "trailer", Header: "Transfer-Encoding: chunked\r\nTrailer: Impersonate-User\r\n", Body: chunked(admin)},
		{Name: "trailer that was not told", Header: "Transfer-Encoding: chunked\r\n", Body: chunked(admin + masters)},
		{Name: "two lengths", Header: "Content-Length: 2\r\nContent-Length: 60\r\n", Body: "{}" + admin},
		{Name: "length and chunks", Header: "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Body: "0\r\n\r\nGET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n" + admin + "\r\n"},
		{Name: "chunks of chunks", Header: "Transfer-Encoding: chunked, chunked\r\n", Body: chunked("")},
		{Name: "chunks by another name", Header: "Transfer-Encoding: xchunked\r\n", Body: chunked("")},
		{Name: "chunks, with a vertical tab", Header: "Transfer-Encoding:\vchunked\r\n", Body: chunked("")},
		{Name: "a request in the body", Header: "Content-Length: 0\r\n", Body: "GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n" + admin + "\r\n"},
		{Name: "expect", Header: "Expect: 100-continue\r\n" + admin},
		// upgrades
		{Name: "upgrade that Connection does not name", Header: "Upgrade: websocket\r\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c3RvbGVu\r\n"},
		{Name: "upgrade to h2c", Header: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n" + admin},
		{Name: "upgrade to two protocols", Header: "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n" + admin},
		{Name: "upgrade, and a body", Header: "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n" + admin, Body: "{}"},
		{Name: "a token as a subprotocol", Header: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" +
			"Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c3RvbGVu\r\n" + admin},
	}
}

// SecretPathForms lists ways to write, below the Kubernetes API of a cluster, the path /api/v1/namespaces/shop/secrets/key so that a
// policy that forbids secrets does not see it, or to leave the API of the cluster. cluster is that of the user, other one that is not.
func SecretPathForms(cluster, other string) []string {
	const secret = "/api/v1/namespaces/shop/secrets/key"
	forms := []string{
		secret,
		secret + "/", secret + "//", secret + "/.", secret + "/..", secret + "?", secret + "?watch=1", secret + "?watch=1;watch=0", secret + "?a=%", secret + "#f", secret + "%23f", secret + "%3fwatch=1",
		// dot segments
		"/api/v1/namespaces/shop/./secrets/key", "/api/v1/namespaces/shop/pods/../secrets/key", "/version/.." + secret, "/./api/v1/namespaces/shop/secrets/key",
		"/api/v1/namespaces/shop/pods/%2e%2e/secrets/key", "/api/v1/namespaces/shop/pods/.%2e/secrets/key", "/api/v1/namespaces/shop/pods/%2E./secrets/key",
		"/api/v1/namespaces/shop/%2e/secrets/key", "/api/v1/namespaces/shop/pods/..%2fsecrets/key", "/api/v1/namespaces/shop/pods/..%5csecrets/key",
		// slashes
		"/" + secret, "//kubernetes.default" + secret, "/api//v1/namespaces/shop/secrets/key", "/api/v1/namespaces/shop//secrets/key",
		"/api/v1/namespaces/shop%2fsecrets/key", "/api/v1/namespaces/shop%2Fsecrets%2Fkey", "/api%2fv1%2fnamespaces%2fshop%2fsecrets%2fkey", "/api/v1/namespaces/shop/configmaps%2f..%2fsecrets/key",
		`/api/v1/namespaces/shop\secrets\key`, "/api/v1/namespaces/shop%5csecrets%5ckey", `/\api/v1/namespaces/shop/secrets/key`, "/api/v1/namespaces/shop\u2215secrets/key",
		// encodings
		"/api/v1/namespaces/shop/%73ecrets/key", "/api/v1/namespaces/shop/secret%73/key", "/%61pi/v1/namespaces/shop/secrets/key", "/api/v1/%6eamespaces/shop/%73%65%63%72%65%74%73/key",
		"/api/v1/namespaces/shop/%2573ecrets/key", "/api/v1/namespaces/shop/%252573ecrets/key", "/api/v1/namespaces/shop%252fsecrets/key", "/api/v1/namespaces/shop/pods/%252e%252e/secrets/key",
		"/api/v1/namespaces/shop/%u0073ecrets/key", "/api/v1/namespaces/shop/%7secrets/key", "/api/v1/namespaces/shop/%", "/api/v1/namespaces/shop/secrets/key%00", "/api/v1/namespaces/shop/%00/secrets/key",
		"/api/v1/namespaces/shop/pods/%c0%ae%c0%ae/secrets/key", "/api/v1/namespaces/shop%c0%afsecrets/key", "/api/v1/namespaces/shop%e0%80%afsecrets/key", "/api/v1/namespaces/shop/%c1%b3ecrets/key",
		"/api/v1/namespaces/shop/secrets%0a/key", "/api/v1/namespaces/shop/secrets%0d%0aImpersonate-User:%20system:admin/key", "/api/v1/namespaces/shop/secrets%09/key", "/api/v1/namespaces/shop/secrets%7f/key",
		// parameters of segments
		"/api/v1/namespaces/shop/secrets;a=b/key", "/api/v1/namespaces/shop/secrets%3ba=b/key", "/api/v1/namespaces/shop;x/secrets/key", "/api/v1;/namespaces/shop/secrets/key", "/api/v1/namespaces/shop/pods/..;/secrets/key",
		// other words for the same
		"/api/v1/watch/namespaces/shop/secrets/key", "/api/v1/secrets?fieldSelector=metadata.name%3Dkey", "/api/v1/namespaces/shop/secrets?limit=1", "/api/v1/namespaces/shop/secrets/key?watch=true",
	}
	prefix := "/v1/clusters/" + cluster
	all := make([]string, 0, len(forms)+20)
	for _, f := range forms {
		all = append(all, prefix+f)
	}
	return append(all,
		// absolute forms, and ways out of the cluster or into it
		"https://kubernetes.default"+prefix+secret, "http://user:pass@a"+prefix+secret, "HTTPS://A:443"+prefix+"/api/v1/namespaces/shop/pods/../secrets/key", "https://a"+strings.ReplaceAll(prefix, "/", "//")+secret,
		prefix+"/../"+other+secret, prefix+"/%2e%2e/"+other+secret, prefix+"%2f..%2f"+other+secret, "/v1/clusters/"+other+secret, "/v1/clusters/"+other+"/../"+cluster+secret,
		"/v1/clusters/./"+cluster+secret, "/v1/clusters//"+cluster+secret, "//v1/clusters/"+cluster+secret, "/v1/%63lusters/"+cluster+secret, "/v1/clusters%2f"+cluster+secret, "/v1/projects/../clusters/"+cluster+secret,
		"/V1/clusters/"+cluster+secret, "/v1/kube"+secret, prefix+"/v1/kube"+secret, prefix+"/v1/project/web/", prefix+"/../../kube"+secret,
		secret, "/"+secret, "/v1/.."+secret, "/%76%31"+secret, cluster+secret, "*", "/",
	)
}
