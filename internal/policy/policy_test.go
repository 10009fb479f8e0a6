package policy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// ask is a request as kubectl makes it: "GET /api/v1/pods?watch=1".
func ask(t testing.TB, text string) Request {
	t.Helper()
	method, target, _ := strings.Cut(text, " ")
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(method, u.Path, u.Query())
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"GET /api/v1/namespaces/shop/pods":                          "list pods in shop",
		"GET /api/v1/namespaces/shop/pods?watch=true":               "watch pods in shop",
		"GET /api/v1/namespaces/shop/pods?watch=1&watch=false":      "watch pods in shop",
		"GET /api/v1/namespaces/shop/pods?watch=FALSE":              "list pods in shop",
		"GET /api/v1/namespaces/shop/pods?watch":                    "watch pods in shop",
		"HEAD /api/v1/namespaces/shop/pods/web-0":                   "get pods web-0 in shop",
		"GET /api/v1/namespaces/shop/pods/web-0?watch=1":            "get pods web-0 in shop",
		"GET /api/v1/pods":                                          "list pods everywhere",
		"GET /api/v1/watch/namespaces/shop/pods":                    "watch pods in shop",
		"GET /api/v1/watch/pods":                                    "watch pods everywhere",
		"DELETE /api/v1/namespaces/shop/pods":                       "deletecollection pods in shop",
		"DELETE /apis/apps/v1/namespaces/shop/deployments/web":      "delete deployments.apps web in shop",
		"PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale": "patch deployments.apps/scale web in shop",
		"POST /api/v1/namespaces/shop/pods/web-0/exec":              "create pods/exec web-0 in shop",
		"GET /api/v1/namespaces/shop/pods/web-0/exec":               "get pods/exec web-0 in shop",
		"GET /api/v1/namespaces":                                    "list namespaces everywhere",
		"GET /api/v1/namespaces/shop":                               "get namespaces shop",
		"PUT /api/v1/namespaces/shop/finalize":                      "update namespaces/finalize shop",
		"GET /api/v1/nodes/one/proxy/run/shop/web-0/c?cmd=id":       "get nodes/proxy one",
		"GET /api/v1/namespaces/shop/services/https:web:443/proxy/": "get services/proxy web in shop",
		"GET /api/v1/proxy/namespaces/shop/services/web":            "proxy services web in shop",
		"GET /version":          "get /version",
		"GET /apis/apps/v1":     "get /apis/apps/v1",
		"GET /metrics":          "get /metrics",
		"GET /logs/kubelet.log": "get /logs/kubelet.log",
		"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "create selfsubjectaccessreviews.authorization.k8s.io everywhere",
		"TRACE /api/v1/namespaces/shop/pods/web-0":                    "method TRACE pods web-0 in shop",
		"GET /": "get /",
	} {
		if got := ask(t, text).String(); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for name, want := range map[string]int{"web": 0, "web:80": 80, "https:web:443": 443, "http:web:": 0, "web:http": -1, "a:b:c:d": -1, "web:0": -1, "web:99999": -1, ":web:80": 80} {
		if got := ask(t, "GET /api/v1/namespaces/shop/services/"+name+"/proxy").Port; got != want {
			t.Errorf("%s: port %d, want %d", name, got, want)
		}
	}
}

func read(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Read([]byte("version: 1\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		policy, request string
		want            string // "" means that it is allowed
	}{
		{"", "DELETE /api/v1/nodes/one", ""},

		{"read_only: true", "GET /api/v1/namespaces/shop/secrets", ""},
		{"read_only: true", "GET /api/v1/namespaces/shop/pods/web-0/log", ""},
		{"read_only: true", "POST /api/v1/namespaces/shop/pods", "read_only"},
		{"read_only: true", "GET /api/v1/namespaces/shop/pods/web-0/exec", "read_only"},
		{"read_only: true", "GET /api/v1/namespaces/shop/pods/web-0/portforward", "read_only"},
		{"read_only: true", "GET /api/v1/namespaces/shop/services/web/proxy/", "read_only"},
		{"read_only: true", "GET /api/v1/nodes/one/proxy/run/a/b/c", "read_only"},
		{"read_only: true", "GET /api/v1/proxy/nodes/one/run", "read_only"},
		{"read_only: true", "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ""},
		{"read_only: true", "POST /apis/authorization.k8s.io/v1/subjectaccessreviews", "read_only"},
		{"read_only: true", "POST /api/v1/namespaces/shop/serviceaccounts/admin/token", "read_only"},
		{"read_only: true", "TRACE /api/v1/pods", "read_only"},

		{"no_exec: true", "GET /api/v1/namespaces/shop/pods/web-0/exec", "no_exec"},
		{"no_exec: true", "POST /api/v1/namespaces/shop/pods/web-0/attach", "no_exec"},
		{"no_exec: true", "PATCH /api/v1/namespaces/shop/pods/web-0/ephemeralcontainers", "no_exec"},
		{"no_exec: true", "POST /api/v1/nodes/one/proxy/exec/shop/web-0/c", "no_exec"},
		{"no_exec: true", "GET /api/v1/namespaces/shop/pods/web-0/portforward", ""},

		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/services/web:80/proxy/", ""},
		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/services/https:web:443/proxy/", ""},
		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/services/web:5432/proxy/", "ports, which do not have 5432"},
		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/services/web:http/proxy/", "ports, which do not have -1"},
		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/services/web/proxy/", "ports, and the request names none"},
		{"ports: [80, 443]", "GET /api/v1/namespaces/shop/pods/web-0/portforward", "ports, which port forwarding does not show"},

		{"deny: [{resources: [secrets]}]", "GET /api/v1/namespaces/shop/secrets", "deny[0]"},
		{"deny: [{resources: [secrets]}]", "GET /api/v1/watch/secrets", "deny[0]"},
		{"deny: [{resources: [secrets]}]", "GET /api/v1/namespaces/shop/configmaps", ""},
		{"deny: [{namespaces: [kube-*]}]", "GET /api/v1/namespaces/kube-system/pods", "deny[0]"},
		{"deny: [{namespaces: [kube-*]}]", "GET /api/v1/pods", "deny[0]"},
		{"deny: [{namespaces: [kube-*]}]", "GET /api/v1/nodes", ""},
		{"deny: [{namespaces: [kube-*]}]", "GET /apis/example.com/v1/widgets", "deny[0]"},
		{"deny: [{namespaces: [kube-*]}]", "DELETE /api/v1/namespaces/kube-system", "deny[0]"},
		{"deny: [{namespaces: [kube-*]}]", "GET /api/v1/namespaces/shop/pods", ""},
		{"deny: [{verbs: [delete, deletecollection], resources: ['*']}]", "DELETE /api/v1/namespaces/shop", "deny[0]"},
		{"deny: [{resources: ['*.rbac.authorization.k8s.io']}]", "GET /apis/rbac.authorization.k8s.io/v1/clusterroles", "deny[0]"},
		{"deny: [{resources: ['pods/*']}]", "GET /api/v1/namespaces/shop/pods/web-0/log", "deny[0]"},
		{"deny: [{resources: ['pods/*']}]", "GET /api/v1/namespaces/shop/pods/web-0", ""},
		{"deny: [{resources: [deployments]}]", "GET /apis/apps/v1/namespaces/shop/deployments", "deny[0]"},
		{"deny: [{resources: [deployments.apps]}]", "GET /apis/other/v1/namespaces/shop/deployments", ""},

		{"allow: [{namespaces: [shop]}]", "GET /api/v1/namespaces/shop/pods", ""},
		{"allow: [{namespaces: [shop]}]", "GET /api/v1/namespaces/shop", ""},
		{"allow: [{namespaces: [shop]}]", "GET /api/v1/pods", "allow, of which no rule matches"},
		{"allow: [{namespaces: [shop]}]", "GET /api/v1/nodes", "allow, of which no rule matches"},
		{"allow: [{namespaces: [shop]}]", "GET /metrics", "allow, of which no rule matches"},
		{"allow: [{namespaces: [shop]}]", "GET /version", ""},
		{"allow: [{namespaces: [shop]}]", "GET /openapi/v3", ""},
		{"allow: [{namespaces: [shop]}]", "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ""},
		{"allow: [{verbs: [get, list, watch], resources: [pods, pods/log]}]", "GET /api/v1/namespaces/shop/pods/web-0/log?follow=1", ""},
		{"allow: [{verbs: [get, list, watch], resources: [pods, pods/log]}]", "GET /api/v1/namespaces/shop/pods/web-0/exec", "allow, of which no rule matches"},
		{"allow: [{verbs: [get, list, watch], resources: ['*']}]", "GET /api/v1/proxy/nodes/one/run", "allow, of which no rule matches"},
		{"allow: [{verbs: ['*']}]\ndeny: [{resources: [secrets]}]", "GET /api/v1/secrets", "deny[0]"},
	} {
		got := ""
		if err := read(t, tt.policy).Judge(ask(t, tt.request)); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %s: %q, want %q", tt.policy, tt.request, got, tt.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "version is 0: this agent knows version 1",
		"version: 2":                          "version is 2: this agent knows version 1",
		"version: 1\nreadonly: true":          `unknown field "readonly"`,
		"version: 1\ndeny: [{}]":              "deny[0]: it is empty, and would match everything",
		"version: 1\ndeny: [{verbs: [exec]}]": `deny[0]: verbs: "exec" is none`,
		"version: 1\nports: [0]":              "ports: 0 is none",
		"version: 1\nallow: [{resources: [a/b/c]}]": `allow[0]: resources: "a/b/c" is none`,
		"version: 1\nallow: [{namespaces: [Shop]}]": `allow[0]: namespaces: "Shop" is none`,
		"version: 1\nread_only: maybe":              "cannot unmarshal",
		strings.Repeat("#", maxFile+1):              "more than",
	} {
		if _, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

// FuzzJudge: a policy only narrows, whatever is asked: what it lets through by a rule of reading changes nothing, and what a rule denies is denied.
func FuzzJudge(f *testing.F) {
	f.Add("GET", "/api/v1/namespaces/shop/pods/web-0/exec", "watch=1")
	f.Add("POST", "/apis/apps/v1/namespaces/kube-system/deployments", "")
	f.Add("GET", "/api/v1/watch/namespaces/kube-system/secrets", "")
	f.Add("GET", "/api/v1/namespaces/kube-system/status", "")
	f.Add("GET", "/api/v1/namespaces/kube-system//0", "")
	readOnly, fenced := read(f, "read_only: true"), read(f, "deny: [{namespaces: [kube-system]}]")
	f.Fuzz(func(t *testing.T, method, path, rawQuery string) {
		query, _ := url.ParseQuery(rawQuery)
		r := Parse(method, path, query)
		if readOnly.Judge(r) == nil && method != http.MethodGet && method != http.MethodHead && !r.reviews() {
			t.Errorf("%s %s changes something", method, path)
		}
		if fenced.Judge(r) == nil && strings.HasPrefix(path, "/api/v1/namespaces/kube-system/") {
			t.Errorf("%s %s is let through", method, path)
		}
	})
}
