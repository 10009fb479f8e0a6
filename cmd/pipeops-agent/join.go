package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// node is what a machine becomes by join.
type node struct {
	Role string `json:"role,omitempty"` // "" is what the token says
	Name string `json:"name,omitempty"` // "" is that of the machine
}

func newJoin(g *globals) *cobra.Command {
	var s settings
	var n node
	var tokenFile string
	var dry dryRun
	command := &cobra.Command{
		Use:   "join",
		Short: "Make this machine a node of a k3s cluster that is there",
		Long: `Make this machine a node of the cluster that the token is for: a worker, which runs pods, or a further server, which also keeps the
state of the cluster. The gateway prints the token, for one machine and a short time: pipeops-gateway join CLUSTER [--role server].

Before anything of the machine is changed, the cluster says whether it takes the machine, and its servers are reached: 6443/tcp on
servers, and for a server that joins 2379 and 2380/tcp too. Nodes send each other the packets of pods by 8472/udp. The cluster
says which k3s is installed, and how servers are configured. A further server needs a cluster whose state is in etcd: pipeops-agent
install --cluster-init on its first server. With three servers the loss of one is borne; with two it is not.

The token is read as that of install is: from --token-file, PIPEOPS_TOKEN_FILE, the systemd credential pipeops-token, or PIPEOPS_TOKEN.
Killed, or cut off by a reboot, it goes on by itself, without a new token, within an hour. Run on a node that is as it should be, it changes
nothing. Waiting, consent, reboot and exit codes are those of install.`,
		Example: `  pipeops-agent join --gateway gateway.example.com:8443 --token-file token
  pipeops-agent join --dry-run`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if dry.on {
				return dry.runJoin(g, command, &s, n)
			}
			if command.Flags().Changed("root") {
				return reason.Newf(reason.Usage, "--root without --dry-run: a join changes the machine that it runs on")
			}
			o, err := s.join(g, command, n)
			if err != nil {
				return err
			}
			o.Token = func() (wire.Token, error) { return readNodeToken(tokenFile, command.InOrStdin(), os.Getenv) }
			err = runPlan(command, g, o, bootstrap.Join)
			if s.reboot && bootstrap.Repeats(err) {
				return errors.Join(err, bootstrap.Reboot(command.Context()))
			}
			return err
		},
	}
	s.registerSources(command)
	s.registerConsent(command)
	s.registerRun(command)
	flags := command.Flags()
	flags.StringVar(&n.Role, "role", "", "worker or server, to refuse a token that is for the other (default what the token says)")
	flags.StringVar(&n.Name, "node-name", "", "name of the node in the cluster (default the name of this machine)")
	flags.StringVar(&tokenFile, "token-file", "", "file with the token of pipeops-gateway join; - is standard input")
	dry.register(command)
	_ = command.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{string(wire.RoleWorker), string(wire.RoleServer)}, cobra.ShellCompDirectiveNoFileComp))
	return command
}

// join checks what can be checked before anything is looked at.
func (s *settings) join(g *globals, command *cobra.Command, n node) (bootstrap.Options, error) {
	c, err := s.resolve(g, command)
	if err != nil {
		return bootstrap.Options{}, err
	}
	if os.Geteuid() != 0 {
		return bootstrap.Options{}, reason.Newf(reason.HostNotRoot, "join was run as user %d", os.Geteuid())
	}
	if err := s.ready(c); err != nil {
		return bootstrap.Options{}, err
	}
	if err := g.served(); err != nil {
		return bootstrap.Options{}, err
	}
	o, err := s.joinOptions(g, withCallersProxy(c, host.ProxyOfCaller()), n)
	o.Host = host.Live()
	o.Wait = s.wait
	if command.Flags().Changed("wait") {
		o.WaitLock = s.wait
	}
	return o, err
}

// check finds what cannot be a node.
func (n node) check() error {
	if n.Role != "" && !wire.Role(n.Role).Known() {
		return reason.Newf(reason.Usage, "--role %.40q: want %s or %s", n.Role, wire.RoleWorker, wire.RoleServer)
	}
	if n.Name != "" && !wire.ValidNodeName(n.Name) {
		return reason.Newf(reason.Usage, "--node-name %.80q: want lower-case letters, digits, '-' and '.', at most 63", n.Name)
	}
	return nil
}

// joinOptions makes the options of a join of the settings.
func (s *settings) joinOptions(g *globals, c config.Config, n node) (bootstrap.Options, error) {
	if err := n.check(); err != nil {
		return bootstrap.Options{}, err
	}
	c.Distro, c.Kubeconfig, c.Context, c.Cluster, c.K3sVersion, c.Disable, c.TLSSAN, c.ClusterInit = "", "", "", "", "", nil, nil, nil // are the cluster's
	o, err := s.options(g, c)
	if err != nil {
		return o, err
	}
	o.Install.Disable, o.Settings = nil, nil
	o.Request.Adopt = false
	o.Node = &bootstrap.NodeOptions{Role: wire.Role(n.Role), Name: n.Name,
		Config: func(cluster, kubeconfig string, consent []reason.Cost) ([]byte, error) {
			kept := c
			kept.Cluster, kept.Distro, kept.Kubeconfig, kept.Consent = cluster, distro.K3s, kubeconfig, costNames(consent)
			return s.stored.encode(kept)
		}}
	o.Remember = func(consent []reason.Cost) (json.RawMessage, error) {
		c.Consent = costNames(consent)
		return json.Marshal(keptJoin{Config: c, Node: n, Reboot: s.reboot, File: g.config, Socket: g.socket, BundleGiven: s.bundleGiven})
	}
	return o, nil
}

// keptJoin are the settings of a join, for those who go on with it; there is no token in them.
type keptJoin struct {
	Config config.Config `json:"config"`
	Node   node          `json:"node"`
	Reboot bool          `json:"reboot,omitempty"`
	File   string        `json:"file"`
	Socket string        `json:"socket"`

	BundleGiven bool `json:"bundle_given,omitempty"`
}

// parseKeptJoin reads them strictly: what a newer version has written is not guessed at.
func parseKeptJoin(text []byte) (keptJoin, error) {
	var k keptJoin
	if err := decodeStrictly(text, &k); err != nil {
		return k, err
	}
	if k.Config.Gateway == "" {
		return k, errors.New("it names no gateway")
	}
	return k, k.Node.check()
}

// options makes the options of the join again.
func (k keptJoin) options(g *globals) (bootstrap.Options, error) {
	g.config, g.socket = k.File, k.Socket
	s := settings{reboot: k.Reboot, bundleGiven: k.BundleGiven, resumes: true}
	var err error
	if s.stored, err = g.stored(); err != nil {
		return bootstrap.Options{}, err
	}
	o, err := s.joinOptions(g, k.Config, k.Node)
	o.Wait = bootstrap.DefaultWait
	o.Host = host.Live()
	o.Token = func() (wire.Token, error) {
		return wire.Token{}, reason.Newf(reason.IdentityMissing, "the cluster had taken this machine when the join began, and its answer is here no more, or has ended").
			WithFix("run join again, with a new token: pipeops-gateway join CLUSTER")
	}
	return o, err
}

// readNodeToken gets the token for a node, from where readToken gets one for a cluster.
func readNodeToken(file string, stdin io.Reader, getenv func(string) string) (wire.Token, error) {
	text, source, err := tokenText(file, stdin, getenv)
	const fix = "make one with pipeops-gateway join CLUSTER and give it by --token-file FILE, --token-file - or PIPEOPS_TOKEN_FILE"
	if e := (*reason.Error)(nil); errors.As(err, &e) && e.Code == reason.Usage {
		return wire.Token{}, e.WithFix(fix)
	}
	if err != nil {
		return wire.Token{}, err
	}
	token, err := wire.ParseNodeToken(text)
	if err != nil {
		return token, reason.New(reason.TokenMalformed, cmp.Or(source, "the token"), err).WithFix(fix)
	}
	return token, nil
}

// runJoin is join --dry-run. The cluster is not asked, so that the token is not used up: its version and servers are not known, unless
// the machine has joined before.
func (d *dryRun) runJoin(g *globals, command *cobra.Command, s *settings, n node) error {
	c, err := s.resolve(g, command)
	if err != nil {
		return err
	}
	if c.Gateway == "" { // it is not asked
		c.Gateway = "gateway.invalid"
	}
	o, err := s.joinOptions(g, c, n)
	if err != nil {
		return err
	}
	return d.show(g, command, o)
}
