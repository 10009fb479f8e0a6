package distro

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/proxy"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestFindProxies(t *testing.T) {
	facts := host.Facts{
		Addresses: host.Addresses{IPv4: host.Is(true), Node: "10.0.0.5", Own: []string{"10.0.0.5", "fd00::5"}},
		Identity:  host.Identity{Hostname: "Box"},
	}
	const past = "localhost,127.0.0.0/8,::1,10.0.0.5,fd00::5,box,"
	const nets = "10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local"
	web := proxy.Proxy{HTTP: "http://u:p@proxy:3128", HTTPS: "http://u:p@proxy:3128"}
	with := func(p proxy.Proxy, noProxy string) proxy.Proxy { p.NoProxy = noProxy; return p }
	found := func(source string) host.Proxy {
		return host.Proxy{HTTPS: "http://lan:3128", NoProxy: "intern.example", Source: source}
	}
	for name, c := range map[string]struct {
		given   Proxies
		found   host.Proxy
		remedy  []Remedy
		node    string
		gateway string
		want    Proxies
	}{
		"none":                            {},
		"given":                           {given: Proxies{Proxy: web}, found: found("/etc/environment"), want: Proxies{Proxy: with(web, past+nets), Containerd: with(web, past+nets)}},
		"found":                           {found: found("/etc/environment"), want: Proxies{Source: "/etc/environment", Proxy: proxy.Proxy{HTTPS: "http://lan:3128", NoProxy: "intern.example," + past + nets}, Containerd: proxy.Proxy{HTTPS: "http://lan:3128", NoProxy: "intern.example," + past + nets}}},
		"found, with a list of one's own": {given: Proxies{Proxy: proxy.Proxy{NoProxy: "own.example"}}, found: found("/etc/environment"), want: Proxies{Source: "/etc/environment", Proxy: proxy.Proxy{HTTPS: "http://lan:3128", NoProxy: "own.example," + past + nets}, Containerd: proxy.Proxy{HTTPS: "http://lan:3128", NoProxy: "own.example," + past + nets}}},
		"found for apt":                   {found: found("/etc/apt/apt.conf.d/95proxy")},
		"found for dnf":                   {found: found("/etc/dnf/dnf.conf")},
		"not wanted":                      {given: Proxies{Off: true}, found: found("/etc/environment")},
		"entries are kept once":           {given: Proxies{Proxy: with(web, "a.example, .svc,10.0.0.5")}, want: Proxies{Proxy: with(web, "a.example,.svc,10.0.0.5,localhost,127.0.0.0/8,::1,fd00::5,box,10.42.0.0/16,10.43.0.0/16,.cluster.local"), Containerd: with(web, "a.example,.svc,10.0.0.5,localhost,127.0.0.0/8,::1,fd00::5,box,10.42.0.0/16,10.43.0.0/16,.cluster.local")}},
		"only for images":                 {given: Proxies{Containerd: web}, want: Proxies{Proxy: proxy.Proxy{NoProxy: past + nets}, Containerd: with(web, past+nets)}},
		"another for images": {given: Proxies{Proxy: web, Containerd: proxy.Proxy{HTTPS: "http://images:1", NoProxy: "registry"}},
			want: Proxies{Proxy: with(web, past+nets), Containerd: proxy.Proxy{HTTPS: "http://images:1", NoProxy: "registry," + past + nets}}},
		"networks and name of the decision": {given: Proxies{Proxy: web},
			remedy: []Remedy{{ID: RemedyCIDR, Values: []string{"172.28.0.0/16", "172.29.0.0/16"}}, {ID: RemedyNodeName, Values: []string{"box-1"}}},
			want:   Proxies{Proxy: with(web, past+"box-1,172.28.0.0/16,172.29.0.0/16,.svc,.cluster.local"), Containerd: with(web, past+"box-1,172.28.0.0/16,172.29.0.0/16,.svc,.cluster.local")}},
		"private gateway": {given: Proxies{Proxy: web}, node: "n", gateway: "192.168.7.1:8443", want: Proxies{Proxy: with(web, past+"n,"+nets+",192.168.7.1"), Containerd: with(web, past+"n,"+nets+",192.168.7.1")}},
		"public gateway":  {given: Proxies{Proxy: web}, gateway: "gateway.example.com:8443", want: Proxies{Proxy: with(web, past+nets), Containerd: with(web, past+nets)}},
	} {
		t.Run(name, func(t *testing.T) {
			f := facts
			f.Proxy = c.found
			got := FindProxies(c.given, f, Decision{Remedies: c.remedy}, c.node, c.gateway)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

const proxyPassword = "pa$s%27word"

func (b *bench) proxied(port string) {
	web := proxy.Proxy{HTTP: "http://user:" + proxyPassword + "@proxy.test:" + port, HTTPS: "http://user:" + proxyPassword + "@proxy.test:" + port, NoProxy: ".svc,10.42.0.0/16"}
	b.in.Proxy = Proxies{Proxy: web, Containerd: web}
}

func TestK3sGetsTheProxies(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	plain := b.tree()
	b.units.since()
	b.in.Proxy.Proxy = proxy.Proxy{HTTPS: "http://user:s3cret@proxy.test:3128", NoProxy: ".svc"}
	b.in.Proxy.Containerd = proxy.Proxy{HTTPS: "http://images.test", NoProxy: ".svc"}
	b.in.Proxy.Source = "environment"
	b.must("k3s-proxy", "k3s-unit")
	want := envBegin + `
HTTPS_PROXY='http://user:s3cret@proxy.test:3128'
NO_PROXY='.svc'
CONTAINERD_HTTPS_PROXY='http://images.test'
CONTAINERD_NO_PROXY='.svc'
` + envEnd + "\n"
	if got := b.read(k3sEnv); got != want {
		t.Error(cmp.Diff(want, got))
	}
	if st, err := os.Stat(b.in.path(k3sEnv)); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if got := b.units.since(); !slices.Contains(got, "restart k3s.service") {
		t.Errorf("systemd was told %v", got)
	}
	if !strings.Contains(b.read(k3sUnit), "\nEnvironmentFile=-"+k3sEnv+"\n") {
		t.Error("the unit does not read it")
	}
	b.must()
	b.in.Proxy.NoProxy = ".svc,.cluster.local"
	b.must("k3s-proxy", "k3s-unit")
	if got := b.units.since(); !slices.Contains(got, "restart k3s.service") {
		t.Errorf("a change of it: systemd was told %v", got)
	}
	b.in.Proxy = Proxies{}
	b.must("k3s-proxy", "k3s-unit")
	if got := b.tree(); got != plain {
		t.Error("without a proxy again:", cmp.Diff(plain, got))
	}
	b.must()
}

func TestSomebodyElsesEnvironmentStays(t *testing.T) {
	b := newBench(t)
	b.write(k3sEnv, "K3S_TOKEN=abc\nHTTP_PROXY=old") // no line end, as k3s's installer would not write it
	b.proxied("3128")
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	got := b.read(k3sEnv)
	if !strings.HasPrefix(got, "K3S_TOKEN=abc\nHTTP_PROXY=old\n"+envBegin+"\nHTTP_PROXY='http://user:") {
		t.Error(got)
	}
	b.write(k3sEnv, got+"K3S_DEBUG=true\n")
	if err := os.Chmod(b.in.path(k3sEnv), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must()
	b.in.Proxy = Proxies{}
	b.must("k3s-proxy", "k3s-unit")
	if got := b.read(k3sEnv); got != "K3S_TOKEN=abc\nHTTP_PROXY=old\nK3S_DEBUG=true\n" {
		t.Error(got)
	}
	b.must()
	if err := os.Remove(b.in.path(k3sEnv)); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.in.path(k3sEnv), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.run(nil); err == nil || !strings.Contains(err.Error(), k3sEnv) {
		t.Errorf("a folder in its place: %v", err)
	}
}

// TestShellReadsTheEnvironment: OpenRC's script has a shell read the file.
func TestShellReadsTheEnvironment(t *testing.T) {
	b := newBench(t)
	b.in.OpenRC = true
	b.in.Ready = func(_ context.Context) error { return nil }
	b.proxied("3128")
	if _, err := b.run(nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.read("/etc/init.d/k3s"), " "+k3sOpenRCEnv+";") {
		t.Error("the script does not read it")
	}
	out, err := command.Run(t.Context(), time.Minute, "sh", "-c", `. "$1"; printf "%s" "$HTTPS_PROXY"`, "sh", b.in.path(k3sOpenRCEnv))
	if want := b.in.Proxy.HTTPS; err != nil || string(out) != want {
		t.Errorf("%q, %v; not %q", out, err, want)
	}
}

// TestDownloadsGoThroughTheProxy has a proxy in the way that counts, and a mirror that is reached by it only.
func TestDownloadsGoThroughTheProxy(t *testing.T) {
	b := newBench(t)
	mirror := b.in.Manifests.Mirrors[0]
	var asked, refused atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") == "" || r.URL.Host != "releases.test" {
			refused.Add(1)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		asked.Add(1)
		resp, err := http.Get(mirror + r.URL.EscapedPath())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer server.Close()
	b.in.Fetcher = nil
	b.in.Manifests.Mirrors = []string{"http://releases.test"}
	b.in.Proxy.Proxy = proxy.Proxy{HTTP: "http://user:s3cret@" + server.Listener.Addr().String(), NoProxy: "mirror.lan"}
	var events strings.Builder
	steps, err := k3sSteps(b.in)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		events.WriteString(s.Title + strings.Join(s.Changes, "\n"))
	}
	if _, err := b.run(func(e plan.Event) {
		if e.State != plan.Progress {
			events.WriteString(e.Title)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 4 || refused.Load() != 0 { // the manifest, a rotation of the keys, the binary, the images
		t.Errorf("the proxy was asked %d times and refused %d", asked.Load(), refused.Load())
	}
	if got := events.String(); strings.Contains(got, "s3cret") || !strings.Contains(got, "HTTP_PROXY = http://"+server.Listener.Addr().String()) || !strings.Contains(got, "NO_PROXY = mirror.lan") {
		t.Errorf("what is told: %s", got)
	}
	for _, name := range []string{"journal", "ledger"} {
		files, err := os.ReadDir(b.in.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasPrefix(f.Name(), name) || f.IsDir() {
				continue
			}
			if text, err := os.ReadFile(b.in.Dir + "/" + f.Name()); err != nil || strings.Contains(string(text), "s3cret") {
				t.Errorf("%s tells the password, %v", f.Name(), err)
			}
		}
	}
}

func TestBadProxyIsRefusedWithoutTellingIt(t *testing.T) {
	b := newBench(t)
	b.in.Proxy.Proxy = proxy.Proxy{HTTPS: "gopher://user:s3cret@proxy"}
	_, err := b.run(nil)
	if !reason.Is(err, reason.Usage) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("err = %v", err)
	}
}

func FuzzWithBlock(f *testing.F) {
	block := withBlock("", "HTTP_PROXY='a'\n")
	for _, s := range []string{"", "A=b", "A=b\n" + block + "C=d\n", block + block, envBegin, envBegin + "\nX=y\n" + envEnd, envEnd + "\n"} {
		f.Add(s, "NO_PROXY='x'\n")
	}
	f.Fuzz(func(t *testing.T, held, value string) {
		if strings.ContainsAny(value, "\n\r'") {
			return
		}
		lines := "NO_PROXY='" + value + "'\n"
		once := withBlock(held, lines)
		if again := withBlock(once, lines); again != once {
			t.Errorf("not the same twice: %q, %q", once, again)
		}
		if n := strings.Count(once, lines); n < 1 {
			t.Errorf("%q lacks the lines", once)
		}
		bare := withBlock(once, "")
		if strings.Contains("\n"+bare, "\n"+envBegin+"\n") || withBlock(bare, "") != bare {
			t.Errorf("%q is not taken out of %q", lines, once)
		}
		for line := range strings.Lines(held) { // none of somebody else is lost
			line = strings.TrimSuffix(line, "\n")
			name, _, _ := strings.Cut(line, "=")
			if line != envBegin && line != envEnd && !slices.Contains(proxyVariables(), name) && !strings.Contains(bare, line) {
				t.Errorf("%q is lost", line)
			}
		}
	})
}
