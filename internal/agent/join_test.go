package agent

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// joinable makes the API server of a bench one of k3s with one server, as far as a join needs it, and returns what was made and
// taken away there, and as whom.
func (b *bench) joinable() (done func() []string) {
	b.t.Helper()
	var mu sync.Mutex
	var list []string
	secrets := map[string]json.RawMessage{}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: httptestCA(b.t)})
	inner := b.api.Config.Handler
	b.api.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		const path = "/api/v1/namespaces/kube-system/secrets"
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, path) && r.Method != http.MethodGet {
			list = append(list, r.Method+" as "+r.Header.Get("Impersonate-User")+" of "+r.Header.Get("Impersonate-Group"))
		}
		switch {
		case r.URL.Path == "/cacerts":
			_, _ = w.Write(ca)
		case r.URL.Path == "/api/v1/nodes":
			_, _ = w.Write([]byte(`{"kind":"NodeList","apiVersion":"v1","items":[{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","labels":{"node-role.kubernetes.io/control-plane":"true"}},
				"status":{"nodeInfo":{"kubeletVersion":"v1.33.2+k3s1"},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}],"conditions":[{"type":"Ready","status":"True"}]}}]}`))
		case r.URL.Path == "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices":
			_, _ = w.Write([]byte(`{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"name":"kubernetes"},
				"ports":[{"name":"https","port":6443}],"endpoints":[{"addresses":["10.0.0.1"]}]}]}`))
		case r.URL.Path == path && r.Method == http.MethodPost:
			var o struct{ Metadata struct{ Name string } }
			var raw json.RawMessage
			_ = json.NewDecoder(r.Body).Decode(&raw)
			_ = json.Unmarshal(raw, &o)
			secrets[o.Metadata.Name] = raw
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(raw)
		case r.URL.Path == path:
			var items []string
			for _, raw := range secrets {
				items = append(items, string(raw))
			}
			_, _ = fmt.Fprintf(w, `{"kind":"SecretList","apiVersion":"v1","items":[%s]}`, strings.Join(items, ","))
		case strings.HasPrefix(r.URL.Path, path+"/"):
			delete(secrets, strings.TrimPrefix(r.URL.Path, path+"/"))
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
		default:
			inner.ServeHTTP(w, r)
		}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), list...)
	}
}

// httptestCA returns some certificate in DER form.
func httptestCA(t *testing.T) []byte {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.Certificate().Raw
}

// TestAMachineJoins goes the whole way: a node token, the gateway, the tunnel, the agent, the Kubernetes API, and back.
func TestAMachineJoins(t *testing.T) {
	b := newBench(t)
	done := b.joinable()
	b.cluster()
	stop := b.run()
	b.gateway.WaitConnected("one", true)
	join := func(role wire.Role, name string) (identity.Joined, error) {
		made, err := b.gateway.Admin.CreateNodeToken(t.Context(), "one", role, 0)
		if err != nil {
			t.Fatal(err)
		}
		token, err := wire.ParseNodeToken(made.Secret)
		if err != nil {
			t.Fatal(err)
		}
		_, joined, err := identity.Join(t.Context(), identity.JoinOptions{
			Options: identity.Options{Dir: filepath.Join(t.TempDir(), "identity"), Gateway: b.gateway.Address, Token: token, Agent: "test"}, NodeName: name,
		})
		return joined, err
	}
	way, err := join(wire.RoleWorker, "two")
	if err != nil {
		t.Fatal(err)
	}
	if len(way.Servers) != 1 || way.Servers[0] != "https://10.0.0.1:6443" || way.K3sVersion != "v1.33.2+k3s1" || !strings.HasPrefix(way.Token(), "K10") {
		t.Errorf("%v", way)
	}
	if got := done(); len(got) != 1 || got[0] != "POST as pipeops:agent-join of pipeops:admins" {
		t.Errorf("done: %v", got)
	}
	if _, err := join(wire.RoleServer, "three"); !reason.Is(err, reason.JoinNoEtcd) || !strings.Contains(err.Error(), "(n)") {
		t.Errorf("a server of a cluster without etcd: %v", err)
	}
	if _, err := join(wire.RoleWorker, "n"); !reason.Is(err, reason.JoinNameTaken) {
		t.Errorf("the name of the server: %v", err)
	}
	// the token of a machine that never came is taken away: this stand-in gives it no time at all
	b.gateway.Wait("the token is taken away", func() bool { got := done(); return got[len(got)-1] == "DELETE as pipeops:agent-join of pipeops:admins" })
	stop()
	b.gateway.WaitConnected("one", false) // else the next agent is taken for connected while this one still is

	b.options.NoJoin = true
	b.run()
	b.gateway.WaitConnected("one", true)
	if _, err := join(wire.RoleWorker, "two"); !reason.Is(err, reason.JoinForbidden) {
		t.Errorf("the owner does not want it: %v", err)
	}
}
