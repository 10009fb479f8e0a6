//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// cutOff lets the machine reach nothing on this side, and nothing beyond it, but these ports.
func cutOff(t *testing.T, m *lab.Machine, ports ...string) {
	t.Helper()
	table := "inet " + m.Name
	rules := fmt.Sprintf(`table %s {
	chain in { type filter hook input priority -10; ip saddr %[2]s tcp dport { %[3]s } accept; ip saddr %[2]s drop; }
	chain through { type filter hook forward priority -10; ip saddr %[2]s drop; }
}`, table, m.IP(), strings.Join(ports, ", "))
	nft := exec.CommandContext(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	output(t, nft)
	t.Cleanup(func() {
		if out, err := exec.Command("nft", append([]string{"delete", "table"}, strings.Fields(table)...)...).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// reaches wants the machine to reach an address, or not to.
func reaches(t *testing.T, m *lab.Machine, url string, want bool) {
	t.Helper()
	result, err := m.Exec(t.Context(), nil, "curl", "-sS", "-o", "/dev/null", "--max-time", "3", url)
	if err != nil || (result.Code == 0) != want {
		t.Fatalf("curl %s: exit code %d, %v: %s", url, result.Code, err, result.Stderr)
	}
}

// TestBundle makes a bundle by a mirror that cuts, and installs from it on a machine that reaches nothing but the gateway.
func TestBundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	agent := filepath.Join(rig.Dist, "pipeops-agent-linux-"+rig.Arch())
	bundle := filepath.Join(t.TempDir(), "bundle.tar")
	mirror := "http://" + net.JoinHostPort(lab.HostAddress, port(t, w.Mirror.URL()))

	k3s := rig.K3sPath + "/k3s"
	if rig.Arch() != "amd64" {
		k3s += "-" + rig.Arch()
	}
	w.Mirror.Inject(lab.Fault{Pattern: k3s, Cut: 20 << 20, Times: 1})
	lines := strings.Split(strings.TrimSpace(output(t, exec.CommandContext(t.Context(), agent,
		"bundle", "--out", bundle, "--mirror", mirror, "--k3s-version", rig.K3sVersion, "-o", "json"))), "\n")
	var done struct {
		Kind   string
		Detail struct {
			Bytes    int64
			Contents []struct {
				Path  string
				Bytes int64
			}
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &done); err != nil || done.Kind != "done" || len(done.Detail.Contents) != 2 {
		t.Fatalf("%v: the last event is %s", err, lines[len(lines)-1])
	}
	for _, f := range done.Detail.Contents {
		if _, sent := w.Mirror.Sent("/" + f.Path); sent != f.Bytes {
			t.Errorf("%s has %d bytes, and the mirror sent %d", f.Path, f.Bytes, sent)
		}
	}
	if st, err := os.Stat(bundle); err != nil || st.Size() != done.Detail.Bytes {
		t.Errorf("bundle of %d bytes, %v", done.Detail.Bytes, err)
	}

	if err := w.PrepareMachine(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(t.Context(), bundle, "/root/bundle.tar"); err != nil {
		t.Fatal(err)
	}
	shell(t, m, "tar -xf /root/bundle.tar -C /usr/local/bin pipeops-agent && head -c 50000000 /root/bundle.tar >/root/cut.tar && echo text >/root/text.tar")
	reaches(t, m, w.Mirror.URL(), true)
	cutOff(t, m, port(t, w.Gateway.Address))
	reaches(t, m, w.Mirror.URL(), false)
	reaches(t, m, w.Dist.URL(), false)
	asked, _ := w.Mirror.Sent(k3s)

	before := shell(t, m, fingerprint)
	install := append(slices.DeleteFunc(w.install("offline", "-o", "json"), func(arg string) bool { return strings.HasPrefix(arg, "PIPEOPS_MIRROR=") }), "--bundle")
	for name, c := range map[string]struct {
		args []string
		code string
	}{
		"cut":             {[]string{"/root/cut.tar"}, "BUNDLE_TRUNCATED"},
		"text":            {[]string{"/root/text.tar"}, "BUNDLE_INVALID"},
		"not there":       {[]string{"/root/none.tar"}, "BUNDLE_INVALID"},
		"another version": {[]string{"/root/bundle.tar", "--k3s-version", "v1.33.99+k3s1"}, "BUNDLE_LACKS"},
	} {
		result, err := m.Exec(t.Context(), nil, append(slices.Clone(install), c.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		checkFailure(t, result, c.code, 20)
		if after := shell(t, m, fingerprint); after != before {
			t.Errorf("%s: the machine is not as it was:\n%s", name, difference(before, after))
		}
	}
	result, err := m.Exec(t.Context(), nil, append(slices.Clone(install), "/root/bundle.tar")...)
	if err != nil || result.Code != 0 {
		t.Fatalf("install: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
	kubectl := w.kubectlFor(t, "offline")
	if nodes := output(t, kubectl("get", "nodes", "--no-headers")); !strings.Contains(nodes, " Ready ") {
		t.Errorf("nodes: %s", nodes)
	}
	if page, err := w.Deploy(t.Context(), "offline", "web", greeting, 2*time.Minute); err != nil {
		t.Errorf("%v: %s", err, page)
	}
	if again, _ := w.Mirror.Sent(k3s); again != asked {
		t.Error("the mirror was asked")
	}
	// without the bundle, which has done its work
	shell(t, m, "rm /root/*.tar")
	result, err = m.Exec(t.Context(), nil, install[:len(install)-1]...)
	if err != nil || result.Code != 0 || !strings.Contains(result.Stdout, "Nothing to change") {
		t.Errorf("again: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
}

// proxy is a proxy that wants a password and counts what it is asked for.
type proxy struct {
	mu    sync.Mutex
	asked map[string]int // by host:port
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("user:s3cret")) {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.asked[r.Host]++
	p.mu.Unlock()
	if r.Method == http.MethodConnect { // the lab has no internet
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.URL.Host = net.JoinHostPort(lab.HostAddress, out.URL.Port())
	resp, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Length", "Content-Range"} {
		if v := resp.Header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// TestProxy installs on a machine that reaches the mirror through a proxy only, and looks that k3s has it and nothing of
// the cluster goes through it.
func TestProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.machine(t, lab.Options{})
	w.withAgent(t, m)
	if err := w.PrepareMachine(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := &proxy{asked: map[string]int{}}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", lab.HostAddress+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
	at := net.JoinHostPort(lab.HostName, port(t, listener.Addr().String()))
	cutOff(t, m, port(t, w.Gateway.Address), port(t, listener.Addr().String()))
	reaches(t, m, w.Mirror.URL(), false)

	with := append([]string{"env", "PIPEOPS_PROXY=http://user:s3cret@" + at}, w.install("proxied", "-o", "json")[1:]...)
	var told strings.Builder
	plan := slices.Clone(with)
	plan[slices.Index(plan, "install")] = "plan"
	for _, argv := range [][]string{plan[:len(plan)-2], with} {
		result, err := m.Exec(t.Context(), nil, argv...)
		if err != nil || result.Code != 0 {
			t.Fatalf("%v: %v, exit code %d\n%s", argv, err, result.Code, result.Told())
		}
		told.WriteString(result.Stdout + result.Stderr)
	}
	for _, want := range []string{"HTTPS_PROXY = http://" + at, "NO_PROXY = localhost,127.0.0.0/8,::1," + m.IP(), "10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("plan and install do not tell %q:\n%.3000s", want, told.String())
		}
	}
	told.WriteString(shell(t, m, "journalctl --no-pager; cat /var/lib/pipeops-agent/journal* /var/lib/pipeops-agent/ledger*; systemctl cat k3s; systemctl show k3s"))
	if strings.Contains(told.String(), "s3cret") {
		t.Error("the password is told")
	}
	if mode := shell(t, m, "stat -c '%a %U' /etc/systemd/system/k3s.service.env /etc/pipeops-agent/config.yaml"); strings.TrimSpace(mode) != "600 root\n600 root" {
		t.Errorf("modes: %s", mode)
	}
	environ := shell(t, m, "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value k3s)/environ | grep -i _proxy | sort")
	if got := strings.Count(environ, "s3cret"); got != 4 || !strings.Contains(environ, "CONTAINERD_HTTPS_PROXY=http://user:s3cret@"+at) || !strings.Contains(environ, "\nNO_PROXY=localhost,") {
		t.Errorf("environment of k3s: %s", environ)
	}
	// an image that nobody has: containerd asks the proxy for it
	shell(t, m, "k3s crictl pull registry.example.com/none:1 || true")
	eventually(t, time.Minute, "containerd to use the proxy", func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.asked["registry.example.com:443"] == 0 {
			return fmt.Errorf("it was asked for %v", p.asked)
		}
		return nil
	})
	if page, err := w.Deploy(t.Context(), "proxied", "web", greeting, 2*time.Minute); err != nil {
		t.Errorf("%v: %s", err, page)
	}
	p.mu.Lock()
	mirror := strings.TrimPrefix(w.Mirror.URL(), "http://")
	if p.asked[mirror] < 3 { // the manifest, the binary, the images
		t.Errorf("the proxy was asked for %v", p.asked)
	}
	for host := range p.asked {
		name, _, _ := net.SplitHostPort(host)
		if ip := net.ParseIP(name); ip != nil || strings.HasSuffix(name, ".svc") || strings.HasSuffix(name, ".local") || host == w.Gateway.Address {
			t.Errorf("%s went through the proxy", host)
		}
	}
	p.mu.Unlock()
	// the next run knows it without being told
	result, err := m.Exec(t.Context(), nil, w.install("proxied", "-o", "json")...)
	if err != nil || result.Code != 0 || !strings.Contains(result.Stdout, "Nothing to change") {
		t.Errorf("again: %v, exit code %d\n%s", err, result.Code, result.Told())
	}
}
