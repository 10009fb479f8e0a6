package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/agent"
	"github.com/pipeopshq/pipeops-agent/internal/artifact"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/version"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// settings are the flags of install and plan. Those that were given lie over the environment and the file.
type settings struct {
	config.Config
	adopt       bool
	clusterInit bool

	reboot bool // by install itself, where it is needed
	wait   time.Duration

	bundleGiven bool     // by flag or environment: then it is used or refused, nothing else
	resumes     bool     // they are those of an install that goes on by itself
	notices     []string // what people should know of them

	stored stored // what earlier installs have left
}

func (s *settings) register(command *cobra.Command) {
	flags := command.Flags()
	s.registerSources(command)
	s.registerConsent(command)
	flags.StringVar(&s.Distro, "distro", "", "auto, or one of "+strings.Join(distro.Names(), ", ")+" (default auto)")
	flags.StringVar(&s.Kubeconfig, "kubeconfig", "", "of the cluster to adopt; default: found by the probes")
	flags.StringVar(&s.Context, "context", "", "of the kubeconfig; default: its current one")
	flags.StringVar(&s.K3sVersion, "k3s-version", "", "version of k3s to install, such as v1.33.2+k3s1; without +k3s that of the Kubernetes of kind or minikube (default "+distro.K3sVersion+")")
	flags.BoolVar(&s.clusterInit, "cluster-init", false, "keep the state of k3s in etcd, so that further servers can join; one that is in SQLite is moved, and there is no way back")
	flags.StringSliceVar(&s.Disable, "disable", nil, "parts of k3s that are not wanted, all of them, or +PART to add one (default "+strings.Join(defaultDisable(), ",")+")")
	flags.StringSliceVar(&s.TLSSAN, "tls-san", nil, "further names or addresses of the Kubernetes API server, all of them, or +NAME to add one")
	flags.IntVar(&s.Nodes, "nodes", 0, "of k3d, kind and minikube: how many nodes serve the API, an odd number (default 1)")
	flags.IntVar(&s.Workers, "workers", 0, "of k3d, kind and minikube: how many further nodes")
	flags.IntVar(&s.APIPort, "api-port", 0, "of k3d, kind and minikube: port of the API on this machine (default one that is free, and then stays)")
	flags.BoolVar(&s.MinikubeForce, "minikube-force", false, "let root run minikube, with --force, in place of a user that is made for it")
	flags.StringVar(&s.MinikubeDriver, "minikube-driver", "", "of minikube: docker, or none, which makes the machine itself a node and needs --distro minikube (default docker)")
	flags.BoolVar(&s.adopt, "adopt", true, "take over a healthy cluster that is already here instead of refusing the machine")
	_ = command.RegisterFlagCompletionFunc("distro", cobra.FixedCompletions(append([]string{distro.Auto}, distro.Names()...), cobra.ShellCompDirectiveNoFileComp))
}

// registerSources adds the flags of where files come from and go to.
func (s *settings) registerSources(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&s.Mirror, "mirror", "", "base URL to download from in place of https://github.com and other origins, or several, separated by commas, of which \"origin\" stands for those; none needs trust")
	flags.StringVar(&s.Bundle, "bundle", "", "file of pipeops-agent bundle to take everything from; nothing is downloaded then")
	flags.StringVar(&s.Trust, "trust", "", "file of root's with the keys of who signs what may be installed (default the keys that are built in)")
	flags.StringVar(&s.DataDir, "data-dir", "", "where a new k3s keeps its images and data, such as /data/k3s (default /var/lib/rancher/k3s, or the only other disk if that one does not do)")
}

// registerConsent adds the flag of what may be done to the machine.
func (s *settings) registerConsent(command *cobra.Command) {
	command.Flags().StringSliceVar(&s.Consent, "consent", nil, "changes that may be made to this machine if it needs them: "+strings.Join(consentNames(), ", "))
	_ = command.RegisterFlagCompletionFunc("consent", cobra.FixedCompletions(consentNames(), cobra.ShellCompDirectiveNoFileComp))
}

// registerRun adds the flags of what changes a machine.
func (s *settings) registerRun(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&s.Gateway, "gateway", "", "address of the gateway, HOST:PORT")
	flags.BoolVar(&s.reboot, "reboot", false, "reboot as soon as it is needed, and go on after it; needs --consent reboot")
	flags.DurationVar(&s.wait, "wait", bootstrap.DefaultWait, "how long package managers, cloud-init and, if it is given, another pipeops-agent are waited for")
}

// resolve lays the flags that were given over the environment, and that over what is stored. A flag with an empty value takes
// a setting back to its default.
func (s *settings) resolve(g *globals, command *cobra.Command) (config.Config, error) {
	var err error
	if s.stored, err = g.stored(); err != nil {
		return config.Config{}, err
	}
	c := s.stored.wish.Environ(os.Getenv)
	given := command.Flags().Changed
	for name, field := range map[string][2]*string{
		"gateway":     {&s.Gateway, &c.Gateway},
		"cluster":     {&s.Cluster, &c.Cluster},
		"distro":      {&s.Distro, &c.Distro},
		"kubeconfig":  {&s.Kubeconfig, &c.Kubeconfig},
		"context":     {&s.Context, &c.Context},
		"mirror":      {&s.Mirror, &c.Mirror},
		"k3s-version": {&s.K3sVersion, &c.K3sVersion},
		"bundle":      {&s.Bundle, &c.Bundle},
		"trust":       {&s.Trust, &c.Trust},
		"data-dir":    {&s.DataDir, &c.DataDir},

		"minikube-driver": {&s.MinikubeDriver, &c.MinikubeDriver},
	} {
		if given(name) {
			*field[1] = *field[0]
		}
	}
	if given("minikube-force") {
		c.MinikubeForce = s.MinikubeForce
	}
	for name, field := range map[string][2]*int{
		"nodes":    {&s.Nodes, &c.Nodes},
		"workers":  {&s.Workers, &c.Workers},
		"api-port": {&s.APIPort, &c.APIPort},
	} {
		if given(name) {
			*field[1] = *field[0]
		}
	}
	if was := s.stored.wish; c.Distro != was.Distro && was.Distro != "" && was.Distro != distro.Existing && c.Kubeconfig == was.Kubeconfig && !given("kubeconfig") {
		c.Kubeconfig, c.Context = "", "" // it was that of the cluster that the other distribution makes
	}
	if given("kubeconfig") {
		if !given("context") {
			c.Context = "" // it was one of the other file
		}
		if c.Kubeconfig != "" {
			if c.Kubeconfig, err = filepath.Abs(c.Kubeconfig); err != nil {
				return c, fmt.Errorf("cannot find the kubeconfig: %w", err)
			}
		}
	}
	if s.bundleGiven = given("bundle") || os.Getenv("PIPEOPS_BUNDLE") != ""; s.bundleGiven && c.Bundle != "" {
		if c.Bundle, err = filepath.Abs(c.Bundle); err != nil {
			return c, fmt.Errorf("cannot find the bundle: %w", err)
		}
	}
	if given("disable") {
		held := c.Disable
		if held == nil {
			held = defaultDisable()
		}
		if c.Disable, err = mergeList("disable", held, s.Disable); err != nil {
			return c, err
		}
	}
	if given("tls-san") {
		if c.TLSSAN, err = mergeList("tls-san", c.TLSSAN, s.TLSSAN); err != nil {
			return c, err
		}
	}
	if given("consent") {
		c.Consent = append([]string{}, s.Consent...)
	}
	if given("adopt") {
		c.Adopt = &s.adopt
	}
	if given("cluster-init") {
		c.ClusterInit = &s.clusterInit
	}
	return c, nil
}

// leastTokenLife keeps a machine from asking for tokens all the time.
const leastTokenLife = 10 * time.Second

// tokenLife is how long a token of the agent's account is used; 0 where the settings do not say.
func tokenLife(c config.Config) (time.Duration, error) {
	if c.TokenLife == "" {
		return 0, nil
	}
	life, err := time.ParseDuration(c.TokenLife)
	if err != nil || life < leastTokenLife || life > 365*24*time.Hour {
		return 0, reason.Newf(reason.Usage, "token_life %q is no time from %s to a year, such as 24h", c.TokenLife, leastTokenLife).
			WithFix("mend or remove token_life in " + config.Path)
	}
	return life, nil
}

// checkAudit refuses a word that is none: one that is misspelled must not pass for "on" where "required" was meant.
func checkAudit(mode string) error {
	switch mode {
	case "", agent.AuditOn, agent.AuditRequired, agent.AuditOff:
		return nil
	}
	return reason.Newf(reason.Usage, "audit %q: want %s, %s or %s", mode, agent.AuditOn, agent.AuditRequired, agent.AuditOff).
		WithFix("mend or remove audit in " + config.Path)
}

// maxToken bounds what is read as a token; a real one has 127 bytes.
const maxToken = 4 << 10

// readToken gets the join token: from --token-file ("-" is stdin), PIPEOPS_TOKEN_FILE, the systemd credential
// "pipeops-token", or PIPEOPS_TOKEN. There is no flag for the token itself: every user of a machine can read command lines.
func readToken(file string, stdin io.Reader, getenv func(string) string) (wire.Token, error) {
	text, source, err := tokenText(file, stdin, getenv)
	if err != nil {
		return wire.Token{}, err
	}
	token, err := wire.ParseToken(text)
	switch {
	case strings.TrimSpace(text) == "":
		return token, reason.Newf(reason.TokenMalformed, "%s is empty", source)
	case err != nil:
		return token, reason.New(reason.TokenMalformed, source, err)
	}
	return token, nil
}

func tokenText(file string, stdin io.Reader, getenv func(string) string) (text, source string, err error) {
	if file == "" {
		file = getenv("PIPEOPS_TOKEN_FILE")
	}
	if dir := getenv("CREDENTIALS_DIRECTORY"); file == "" && dir != "" {
		if credential := filepath.Join(dir, "pipeops-token"); exists(credential) {
			file = credential
		}
	}
	if file == "" {
		if text := getenv("PIPEOPS_TOKEN"); text != "" {
			return text, "PIPEOPS_TOKEN", nil
		}
		return "", "", reason.Newf(reason.Usage, "no join token was given").
			WithFix("make one with pipeops-gateway token create and give it by --token-file FILE, --token-file - or PIPEOPS_TOKEN_FILE")
	}
	if file == "-" {
		content, err := io.ReadAll(io.LimitReader(stdin, maxToken))
		if err != nil {
			return "", "", fmt.Errorf("cannot read the token: %w", err)
		}
		return string(content), "standard input", nil
	}
	opened, err := os.Open(file)
	if err != nil {
		return "", "", noToken(err)
	}
	content, err := io.ReadAll(io.LimitReader(opened, maxToken))
	if err = errors.Join(err, opened.Close()); err != nil {
		return "", "", noToken(err)
	}
	return string(content), file, nil
}

func noToken(err error) error {
	return reason.New(reason.Usage, "the token file cannot be read", err).
		WithFix("give a file that holds what pipeops-gateway token create has printed, by --token-file FILE")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// options makes the options of an install or a plan of the settings.
func (s *settings) options(g *globals, c config.Config) (bootstrap.Options, error) {
	program, err := os.Executable()
	if err != nil {
		return bootstrap.Options{}, fmt.Errorf("cannot find this program: %w", err)
	}
	consent, err := parseConsent(c.Consent)
	if err != nil {
		return bootstrap.Options{}, err
	}
	if err := distro.CheckDataDir(c.DataDir); err != nil {
		return bootstrap.Options{}, err
	}
	life, err := tokenLife(c)
	if err != nil {
		return bootstrap.Options{}, err
	}
	if err := errors.Join(checkAudit(c.Audit), checkMetrics(c.Metrics)); err != nil {
		return bootstrap.Options{}, err
	}
	if err := distro.CheckMinikubeDriver(c.MinikubeDriver); err != nil {
		return bootstrap.Options{}, err
	}
	manifests, err := g.manifests(c)
	if err != nil {
		return bootstrap.Options{}, err
	}
	proxy, err := proxies(c)
	if err != nil {
		return bootstrap.Options{}, err
	}
	through, err := dialer(c)
	if err != nil {
		return bootstrap.Options{}, err
	}
	in := distro.Install{
		Dir: g.state, Version: c.K3sVersion, Arch: runtime.GOARCH, Manifests: manifests,
		TLSNames: c.TLSSAN, Disable: c.Disable, Proxy: proxy,
		Nodes: c.Nodes, Workers: c.Workers, APIPort: c.APIPort, Program: program,
		MinikubeForce: c.MinikubeForce,
		ClusterInit:   c.ClusterInit != nil && *c.ClusterInit,
	}
	if in.Version == "" {
		in.Version = distro.K3sVersion
	}
	if in.Fetcher, err = s.useBundle(c, &in); err != nil {
		return bootstrap.Options{}, err
	}
	if in.Disable == nil {
		in.Disable = defaultDisable()
	}
	return bootstrap.Options{
		Gateway:   c.Gateway,
		Cluster:   c.Cluster,
		Transport: through,
		Request: distro.Request{
			Distro: c.Distro, Adopt: c.Adopt == nil || *c.Adopt, Kubeconfig: c.Kubeconfig, Context: c.Context, Kubernetes: in.Version,
			Consent: consent, DataDir: c.DataDir, Ingress: !slices.Contains(in.Disable, "traefik"),
			APIPort: c.APIPort, MinikubeForce: c.MinikubeForce, MinikubeDriver: c.MinikubeDriver, ClusterInit: c.ClusterInit,
		},
		Install: in,
		Config: func(d distro.Decision, consent []reason.Cost) ([]byte, error) {
			return s.stored.encode(keptConfig(c, d, consent))
		},
		Settings: func(d distro.Decision, consent []reason.Cost) (before, after []bootstrap.Setting) {
			return s.stored.before(), listSettings(keptConfig(c, d, consent))
		},
		Remember:       func(consent []reason.Cost) (json.RawMessage, error) { return s.kept(g, c, consent) },
		SettingsHidden: s.stored.hidden,
		Notices:        s.notices,
		ConfigPath:     g.config,
		StateDir:       g.state,
		Socket:         g.socket,
		TokenLife:      life,
		Program:        program,
		Version:        version.String(),
	}, nil
}

// manifests is where the list of what may be installed comes from.
func (g *globals) manifests(c config.Config) (*artifact.Manifests, error) {
	trust, err := artifact.LoadTrust(c.Trust)
	if err != nil {
		return nil, err
	}
	mirrors, err := artifact.ParseMirrors(c.Mirror)
	if err != nil {
		return nil, err
	}
	return &artifact.Manifests{Trust: trust, Mirrors: mirrors, Dir: filepath.Join(g.state, "manifest"), Agent: version.String(), Built: version.Built()}, nil
}

// defaultDisable lists the parts of k3s that are left out unless the user says otherwise: projects are reached through the
// tunnel, so nothing needs the ports 80 and 443 of the machine.
func defaultDisable() []string { return []string{"traefik", "servicelb"} }
