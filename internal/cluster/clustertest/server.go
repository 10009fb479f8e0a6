package clustertest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a stand-in for an API server that is reached by a kubeconfig: it keeps objects, answers reviews of access, and gives
// tokens that it knows again. It runs no controllers.
type Server struct {
	*httptest.Server
	Version string
	// Allow answers reviews of access: "create namespaces", "escalate clusterroles", "get /readyz"; nil allows all.
	Allow func(what string) bool
	// Now is the clock by which tokens are issued; nil means time.Now.
	Now func() time.Time

	mu       sync.Mutex
	objects  map[string]map[string]any // by path
	tokens   map[string]bool
	requests []string
	uid      int
}

// Admin is a token that the server always takes.
const Admin = "admin"

// Serve starts a stand-in that ends with the test.
func Serve(t *testing.T) *Server {
	t.Helper()
	s := &Server{Version: "v1.33.2+k3s1", objects: map[string]map[string]any{}, tokens: map[string]bool{Admin: true}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.answer))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s
}

// CA is the certificate of the server in PEM.
func (s *Server) CA() []byte { return PEM(s.Certificate()) }

// PEM encodes a certificate.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// Kubeconfig writes a kubeconfig of a user with the token and returns its path.
func (s *Server) Kubeconfig(t *testing.T, token string) string {
	t.Helper()
	return Kubeconfig(t, s.URL, s.CA(), "token: "+token)
}

// Kubeconfig writes a kubeconfig with these parts and returns its path. user is a line of YAML.
func Kubeconfig(t *testing.T, server string, ca []byte, user string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {server: %q, certificate-authority-data: %s}}]\nusers:\n- name: u\n  user: {%s}\n",
		server, base64.StdEncoding.EncodeToString(ca), user)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Put keeps an object at its path, such as /api/v1/namespaces/pipeops-system.
func (s *Server) Put(path string, object map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(path, object)
}

// Forget lets the server know no token any more but that of the administrator.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = map[string]bool{Admin: true}
}

// Paths lists the paths of the objects.
func (s *Server) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for p := range s.objects {
		all = append(all, p)
	}
	return all
}

// Requests returns the requests since the last call, "POST /api/v1/namespaces".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

func (s *Server) put(path string, object map[string]any) {
	meta, _ := object["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		object["metadata"] = meta
	}
	if meta["uid"] == nil {
		s.uid++
		meta["uid"] = fmt.Sprint("uid-", s.uid)
	}
	s.objects[path] = object
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	say := func(code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(body)
	}
	fail := func(code int, why string) {
		say(code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": why, "code": code, "message": why})
	}
	if !s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] {
		fail(http.StatusUnauthorized, "Unauthorized")
		return
	}
	body := map[string]any{}
	content, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || len(content) > 0 && json.Unmarshal(content, &body) != nil {
		fail(http.StatusBadRequest, "BadRequest")
		return
	}
	switch path := r.URL.Path; {
	case path == "/readyz":
		_, _ = io.WriteString(w, "ok")
	case path == "/version":
		say(http.StatusOK, map[string]any{"gitVersion": s.Version})
	case strings.HasSuffix(path, "/selfsubjectaccessreviews"):
		body["status"] = map[string]any{"allowed": s.Allow == nil || s.Allow(reviewed(body))}
		say(http.StatusCreated, body)
	case strings.HasSuffix(path, "/selfsubjectreviews"):
		body["status"] = map[string]any{"userInfo": map[string]any{"username": "jane@example.com"}}
		say(http.StatusCreated, body)
	case strings.HasSuffix(path, "/token"):
		if s.objects[strings.TrimSuffix(path, "/token")] == nil {
			fail(http.StatusNotFound, "NotFound")
			return
		}
		token := s.token(body)
		s.tokens[token] = true
		body["status"] = map[string]any{"token": token}
		say(http.StatusCreated, body)
	case r.Method == http.MethodPost:
		meta, _ := body["metadata"].(map[string]any)
		at := fmt.Sprint(path, "/", meta["name"])
		if s.objects[at] != nil {
			fail(http.StatusConflict, "AlreadyExists")
			return
		}
		s.put(at, body)
		say(http.StatusCreated, body)
	case r.Method == http.MethodGet && s.objects[path] != nil:
		say(http.StatusOK, s.objects[path])
	case r.Method == http.MethodPatch: // server-side apply, which makes what is not there
		if held := s.objects[path]; held != nil {
			body["metadata"].(map[string]any)["uid"] = held["metadata"].(map[string]any)["uid"]
		}
		s.put(path, body)
		say(http.StatusOK, body)
	case r.Method == http.MethodDelete && s.objects[path] != nil:
		conditions, _ := body["preconditions"].(map[string]any)
		if uid := s.objects[path]["metadata"].(map[string]any)["uid"]; conditions["uid"] != uid {
			fail(http.StatusConflict, "Conflict")
			return
		}
		delete(s.objects, path)
		say(http.StatusOK, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Success"})
	case r.Method == http.MethodGet && isList(path):
		items := []any{}
		for p, o := range s.objects {
			if rest, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(rest, "/") {
				items = append(items, o)
			}
		}
		say(http.StatusOK, map[string]any{"kind": "List", "apiVersion": "v1", "items": items})
	default:
		fail(http.StatusNotFound, "NotFound")
	}
}

// isList tells a collection from an object by the number of parts: /api/v1/nodes, /apis/G/V/namespaces/N/roles.
func isList(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	parts = parts[min(len(parts), map[string]int{"api": 2, "apis": 3}[parts[0]]):]
	return len(parts) == 1 || len(parts) == 3 && parts[0] == "namespaces"
}

// reviewed writes what a review asks: "create serviceaccounts/token".
func reviewed(review map[string]any) string {
	spec, _ := review["spec"].(map[string]any)
	if a, ok := spec["nonResourceAttributes"].(map[string]any); ok {
		return fmt.Sprint(a["verb"], " ", a["path"])
	}
	a, _ := spec["resourceAttributes"].(map[string]any)
	what := fmt.Sprint(a["verb"], " ", a["resource"])
	if sub, _ := a["subresource"].(string); sub != "" {
		what += "/" + sub
	}
	return what
}

// token makes a token of the form that API servers give, without a signature.
func (s *Server) token(request map[string]any) string {
	spec, _ := request["spec"].(map[string]any)
	life, _ := spec["expirationSeconds"].(float64)
	now := time.Now()
	if s.Now != nil {
		now = s.Now()
	}
	s.uid++
	claims, _ := json.Marshal(map[string]any{"iat": now.Unix(), "exp": now.Unix() + int64(life), "jti": s.uid})
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
}
