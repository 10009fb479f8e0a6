package distro

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// Where k3s is put: its own conventional places, so that what its users know stays true.
const (
	k3sBinDir  = "/usr/local/bin"
	k3sBinary  = k3sBinDir + "/k3s"       // unless a remedy says otherwise
	k3sDataDir = host.ClusterDir + "/k3s" // likewise
	k3sEtc     = "/etc/rancher/k3s"
	k3sUnit    = "/etc/systemd/system/k3s.service" // of a server; see asWorker
	ownMarker  = "# Written by pipeops-agent"
	k3sStartUp = 10 * time.Minute // a Raspberry Pi with a slow card takes 3 to 4
)

//go:embed k3s.service
var k3sUnitFile string

// k3sInstall is an install of k3s with what its steps share.
type k3sInstall struct {
	Install
	manifests *artifact.Manifests
	fetcher   *artifact.Fetcher

	// what remedies change
	binDir        string
	dataDir       string
	settings      map[string]any // of config.yaml: one value each
	kubeProxyArgs []string
	limits        []limit
	cmdline       []string // words that the kernel must have been started with
	packageNames  []string // that may be there from the next boot on
	engineUnit    string   // that starts the container engine; "" is the usual one
	oomScore      bool     // containerd must be told; see RestrictOOMScoreAdj
	started       []string // what the unit is started with: it is started anew when any of it changes
}

// k3sSteps returns the steps that install k3s on the machine itself, in the order of their execution.
func k3sSteps(in Install) ([]plan.Step, error) {
	if in.Version == "" {
		in.Version = K3sVersion
	}
	k := &k3sInstall{Install: in, fetcher: in.Fetcher, manifests: in.Manifests,
		binDir: k3sBinDir, dataDir: k3sDataDir, settings: map[string]any{}, limits: limits()}
	if k.fetcher == nil {
		k.fetcher = &artifact.Fetcher{Client: artifact.NewClient(in.Proxy.Proxy)}
	}
	if k.manifests == nil {
		k.manifests = &artifact.Manifests{}
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	if err := in.Proxy.Check(); err != nil {
		return nil, reason.New(reason.Usage, err.Error(), nil)
	}
	if in.Join != nil {
		if err := k.checkJoin(); err != nil {
			return nil, err
		}
	}
	early, late, err := k.applyRemedies()
	if err != nil {
		return nil, err
	}
	download, err := k.download()
	if err != nil {
		return nil, err
	}
	steps := append(early, download, k.binary(), k.images(), k.sysctl())
	steps = append(steps, late...)
	if in.Join != nil {
		steps = append(steps, k.joinToken())
		k.started = append(k.started, in.Join.Token)
	}
	steps = append(steps, k.config())
	k.started = append(k.started, k.configText(true))
	if k.ResolvConf != nil {
		k.started = append(k.started, string(k.ResolvConf))
	}
	if k.oomScore {
		files, err := k.containerdFiles()
		if err != nil {
			return nil, err
		}
		steps = append(steps, k.containerd(files))
		for _, f := range files {
			k.started = append(k.started, f.content)
		}
	}
	proxy, err := k.proxy()
	if err != nil {
		return nil, err
	}
	if proxy != nil {
		steps = append(steps, *proxy)
		if lines := k.proxyLines(); lines != "" {
			k.started = append(k.started, lines)
		}
	}
	unit := service{
		Install: in,
		id:      "k3s-unit", title: "Start k3s",
		name: k.asWorker(serverUnit), target: k.asWorker(k3sUnit), content: []byte(k.unitFile()),
		inputs: func() (string, error) {
			binary, _ := k.known(k.files()[0])
			return binary.SHA256 + "\x00" + strings.Join(k.started, "\x00"), nil
		},
		timeout: k3sStartUp, diagnose: k.diagnose,
		makes: k.makes, clear: k.clearToken,
	}
	if in.OpenRC {
		unit = unit.underOpenRC(k.script())
		unit.ready = k.answers
		if k.worker() {
			unit.ready = k.kubeletAnswers
		}
	}
	if in.Supervised {
		if unit, err = unit.underSupervisor(k.supervisedK3s()); err != nil {
			return nil, err
		}
	}
	return append(steps, unit.step()), nil
}

// check finds a version, architecture or mirror that cannot be, and refuses to run where nobody is trusted: before the machine is enrolled.
func (k *k3sInstall) check() error {
	if !regexp.MustCompile(`^v1\.[0-9]{1,3}\.[0-9]{1,3}(-rc[0-9]{1,2})?\+k3s[0-9]{1,2}$`).MatchString(k.Version) {
		return reason.Newf(reason.Usage, "%q is no version of k3s, such as v1.33.2+k3s1", k.Version)
	}
	if k.Arch != "amd64" && k.Arch != "arm64" {
		return reason.Newf(reason.HostArch, "k3s has no release for %s", k.Arch)
	}
	for _, name := range k.TLSNames {
		if net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(strings.ToLower(name))) > 0 {
			return reason.Newf(reason.Usage, "%q is neither a name nor an address that the certificate of an API server can have", name)
		}
	}
	for _, part := range k.Disable { // k3s takes the names of manifests of others, too
		if len(validation.IsDNS1123Subdomain(part)) > 0 {
			return reason.Newf(reason.Usage, "%q is no part of k3s: the parts are coredns, local-storage, metrics-server, runtimes, servicelb, traefik", part)
		}
	}
	for _, base := range k.manifests.Mirrors {
		if err := artifact.CheckMirror(base); err != nil {
			return err
		}
	}
	if k.Units != nil { // else the steps are only shown
		return k.manifests.Ready()
	}
	return nil
}

// binaryPath is where the binary is put.
func (k *k3sInstall) binaryPath() string { return k.binDir + "/k3s" }

// imagesDir is from where k3s imports images at its start.
func (k *k3sInstall) imagesDir() string { return k.dataDir + "/agent/images" }

// unitFile makes k3s wait for the disk of its data: without it, it would begin a new cluster in the empty mount point.
func (k *k3sInstall) unitFile() string {
	text := strings.ReplaceAll(k.asWorker(k3sUnitFile), k3sBinary, k.binaryPath())
	if k.dataDir != k3sDataDir {
		text = strings.Replace(text, "\n[Service]\n", "RequiresMountsFor="+k.dataDir+"\n\n[Service]\n", 1)
	}
	return text
}

// clearToken removes the file of the token where it is empty. k3s writes it anew at each start, and reads it meanwhile: if it ends of that, it has
// emptied it, and would end of the empty file at each start from then on. Without the file it makes the same one again.
func (k *k3sInstall) clearToken() error {
	path := k.path(filepath.Join(k.dataDir, "server", "token"))
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot look at the token of k3s: %w", err)
	case info.Mode().IsRegular() && info.Size() == 0:
		return os.Remove(path)
	}
	return nil
}
