//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/gateway/gatewaytest"
	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// whoFormsAre sends every form of gatewaytest to the real API server, which must take each for the user or not get it.
func whoFormsAre(t *testing.T, w way) {
	raw, err := os.ReadFile(w.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	find := func(key string) string {
		m := regexp.MustCompile(`\b` + key + `: (\S+)`).FindSubmatch(raw)
		if m == nil {
			t.Fatalf("no %s", key)
		}
		return string(m[1])
	}
	server, err := url.Parse(find("server"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := base64.StdEncoding.DecodeString(find("certificate-authority-data"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	asked := 0
	for _, form := range gatewaytest.HeaderForms() {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}}}).DialContext(t.Context(), "tcp", server.Host)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		header, body := form.Header, form.Body
		if body == "" && !strings.Contains(header, "Upgrade:") {
			body = `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`
			header += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
		}
		_, _ = io.WriteString(conn, "POST "+server.Path+"/apis/authentication.k8s.io/v1/selfsubjectreviews HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+find("token")+"\r\n"+header+"\r\n"+body)
		reader := bufio.NewReader(conn)
		response, err := http.ReadResponse(reader, nil)
		if err == nil && response.StatusCode == http.StatusContinue {
			response, err = http.ReadResponse(reader, nil)
		}
		if err != nil {
			t.Errorf("%s: %v", form.Name, err)
			_ = conn.Close()
			continue
		}
		answer, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		_ = conn.Close()
		var review struct {
			Kind   string
			Status struct {
				UserInfo struct {
					Username, UID string
					Groups        []string
					Extra         map[string]any
				}
			}
		}
		if json.Unmarshal(answer, &review) != nil || review.Kind != "SelfSubjectReview" {
			if response.StatusCode < 400 {
				t.Errorf("%s: %s %s", form.Name, response.Status, answer)
			}
			continue
		}
		asked++
		if u := review.Status.UserInfo; u.Username != "pipeops:admin" || u.UID != "" || len(u.Extra) > 0 || !slices.Equal(u.Groups, []string{"pipeops:admins", "system:authenticated"}) {
			t.Errorf("%s: the API server takes the user for %s", form.Name, answer)
		}
	}
	t.Logf("%d forms were asked as the user", asked)
	if asked < 30 {
		t.Error("these are too few")
	}
}

// forwardOutlivesConnections: what becomes of one connection, or of many, is nothing to a port-forward.
func forwardOutlivesConnections(t *testing.T, w way) {
	for _, websockets := range []string{"true", "false"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, w.bin+"/kubectl", "-n", "fixed", "port-forward", "pod/box", ":8080")
		command.Env = append(os.Environ(), "KUBECONFIG="+w.kubeconfig, "HOME="+w.dir+"/home", "KUBECTL_PORT_FORWARD_WEBSOCKETS="+websockets)
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() {
			t.Fatal("port-forward printed nothing")
		}
		address := strings.Fields(lines.Text())[2] // Forwarding from 127.0.0.1:34567 -> 8080
		go func() {
			for lines.Scan() { // what it says of each connection
			}
		}()
		for n := range 60 {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				t.Fatalf("connection %d: %v", n, err)
			}
			if n%3 > 0 {
				_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"[:6*(n%3)])
			}
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset
			_ = conn.Close()
		}
		if page := output(t, exec.CommandContext(ctx, "curl", "-fsS", "--max-time", "20", "http://"+address+"/")); page != "the page\n" {
			t.Errorf("after 60 connections that were reset the page says %q", page)
		}
		_ = command.Process.Signal(syscall.SIGINT)
		_ = command.Wait()
	}
}

// policyIsTold: kubectl tells its user what the owner of the machine forbids.
func policyIsTold(t *testing.T, m *lab.Machine, w way) {
	const file = "/etc/pipeops-agent/policy.yaml"
	if err := m.PushBytes([]byte("version: 1\nno_exec: true\ndeny:\n- namespaces: [fixed]\n"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	defer shell(t, m, "rm "+file)
	for _, tt := range []struct{ command, want string }{
		{"kubectl -n side-a exec box -- true", "no_exec"},
		{"KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false kubectl -n side-a exec box -- true", "no_exec"},
		{"kubectl -n side-a cp /etc/hostname box:/tmp/x", "no_exec"},
		{"kubectl -n side-a attach box", "no_exec"},
		{"kubectl -n fixed get pods", "deny[0]"},
		{"kubectl -n fixed logs box -c web", "deny[0]"},
		{"kubectl get pods -A", "deny[0]"},
		{"kubectl delete namespace fixed", "deny[0]"},
		{"kubectl -n side-a get pods", ""},
		{"kubectl auth can-i get pods -n fixed", ""},
	} {
		code, said, err := w.run(t.Context(), "", line{text: tt.command})
		switch {
		case err != nil:
			t.Error(err)
		case tt.want == "" && code != 0:
			t.Errorf("%s: %s", tt.command, said)
		case tt.want != "" && (code == 0 || !strings.Contains(said, "POLICY_FORBIDS") && !strings.Contains(strings.ToLower(said), "forbid") || !strings.Contains(said, file+" says: "+tt.want)):
			t.Errorf("%s: %s", tt.command, said)
		}
	}
	t.Log(func() string {
		_, said, _ := w.run(t.Context(), "", line{text: "kubectl -n side-a exec box -- true"})
		return said
	}())
}

// cutIsTold: what a cut of the tunnel does to an exec is an error at its user's end, and never the end of the output. Over SPDY kubectl takes
// every end of the connection for that of the program.
func cutIsTold(t *testing.T, m *lab.Machine, w way) {
	for _, websockets := range []string{"true"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, w.bin+"/kubectl", "-n", "fixed", "exec", "box", "-c", "web", "--", "sh", "-c", "echo begun; sleep 1000")
		command.Env = append(os.Environ(), "KUBECONFIG="+w.kubeconfig, "HOME="+w.dir+"/home", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS="+websockets)
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if lines := bufio.NewScanner(stdout); !lines.Scan() || lines.Text() != "begun" {
			t.Fatal("exec printed nothing")
		}
		shell(t, m, "systemctl restart pipeops-agent")
		err = command.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("websockets %s: exec ended with %v", websockets, err)
		}
		eventually(t, time.Minute, "the cluster is connected again", func(context.Context) error {
			_, said, err := w.run(ctx, "", line{text: "kubectl get --raw /version >/dev/null || exit 1; echo yes"})
			if err == nil && !strings.Contains(said, "yes") {
				err = errors.New(said)
			}
			return err
		})
	}
}
