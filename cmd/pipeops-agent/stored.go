package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// stored is what earlier installs have left of their settings.
type stored struct {
	wish   config.Config  // to go on with: the file, or what an install that did not end was to write into it
	last   *config.Config // in force: what the last install has brought about; nil if there was none
	file   []byte         // content of the file; nil if there is none
	hidden bool           // all of it is for root's eyes only
}

// stored reads the settings of earlier installs.
func (g *globals) stored() (stored, error) {
	var s stored
	bad := func(err error) (stored, error) {
		if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
			return stored{hidden: true}, nil
		}
		return s, badFile(g.config, err)
	}
	held, err := config.Load(g.config)
	if err != nil {
		return bad(err)
	}
	s.wish = held
	if s.file, err = os.ReadFile(g.config); err == nil {
		s.last = &held
	} else if !errors.Is(err, fs.ErrNotExist) {
		return bad(err)
	}
	wanted, applied, err := bootstrap.Remembered(g.state, g.config)
	if err != nil {
		return bad(err)
	}
	if wanted != nil {
		c, err := config.Decode(wanted)
		if err != nil {
			return bad(fmt.Errorf("cannot read the settings of the install that did not end, in %s: %w", g.state, err))
		}
		s.wish = c
		if s.last == nil {
			s.last = &c
		}
	}
	if c, err := config.Decode(applied); err == nil && applied != nil { // of another version: the file tells nearly the same
		s.last = &c
	}
	return s, nil
}

// before lists the settings that are in force, nil if there are none.
func (s stored) before() []bootstrap.Setting {
	if s.last == nil {
		return nil
	}
	return listSettings(*s.last)
}

// encode returns the content of the file for c: as it is, with somebody's comments, where it says the same already.
func (s stored) encode(c config.Config) ([]byte, error) {
	content, err := c.Encode()
	if err != nil || s.file == nil {
		return content, err
	}
	if held, err := config.Decode(s.file); err == nil {
		if same, err := held.Encode(); err == nil && string(same) == string(content) {
			return s.file, nil
		}
	}
	return content, nil
}

// keptConfig is what an install writes into the file: what was chosen, too, so that the next one with no flag wants the same, and a
// newer agent with other defaults does not change a cluster by the way.
func keptConfig(c config.Config, d distro.Decision, consent []reason.Cost) config.Config {
	c.Distro, c.Kubeconfig, c.Context, c.Consent = d.Chosen, d.Kubeconfig, d.Context, costNames(consent)
	c.MinikubeDriver = d.MinikubeDriver
	if consent != nil && c.Consent == nil {
		c.Consent = []string{}
	}
	return filled(c)
}

// filled is c with the defaults of k3s where it is k3s, on the machine itself or in containers.
func filled(c config.Config) config.Config {
	if c.Distro != distro.K3s && c.Distro != distro.K3d {
		return c
	}
	if c.K3sVersion == "" {
		c.K3sVersion = distro.K3sVersion
	}
	if c.Disable == nil {
		c.Disable = defaultDisable()
	}
	return c
}

// listSettings lists settings for people, by the names of their flags.
func listSettings(c config.Config) []bootstrap.Setting {
	c = filled(c)
	one := func(name, value, restarts string) bootstrap.Setting {
		s := bootstrap.Setting{Name: name, Restarts: restarts}
		if value != "" {
			s.Values = []string{value}
		}
		return s
	}
	return []bootstrap.Setting{
		one("gateway", c.Gateway, agentName),
		one("cluster", c.Cluster, agentName),
		one("distro", c.Distro, agentName),
		one("kubeconfig", c.Kubeconfig, ""),
		one("context", c.Context, ""),
		one("token_life", c.TokenLife, agentName),
		one("audit", c.Audit, agentName),
		one("metrics", c.Metrics, agentName),
		one("mirror", c.Mirror, ""),
		one("trust", c.Trust, ""),
		one("k3s-version", c.K3sVersion, distro.K3s),
		one("cluster-init", strconv.FormatBool(c.ClusterInit != nil && *c.ClusterInit), distro.K3s),
		one("data-dir", c.DataDir, ""), // a cluster that is there stays where it is
		{Name: "disable", Values: c.Disable, List: true, Restarts: distro.K3s},
		{Name: "tls-san", Values: c.TLSSAN, List: true, Restarts: distro.K3s},
		{Name: "consent", Values: c.Consent, List: true},
		one("proxy", shownProxy(c.Proxy), distro.K3s),
		one("proxy of images", shownProxy(containerdProxy(c.Proxy)), distro.K3s),
		one("nodes", number(c.Nodes), ""), // a cluster in containers stays as it was made
		one("workers", number(c.Workers), ""),
		one("api-port", number(c.APIPort), ""),
		one("minikube-force", shownBool(c.MinikubeForce), ""),
		one("minikube-driver", c.MinikubeDriver, ""),
		one("join", strconv.FormatBool(c.Join == nil || *c.Join), agentName),
		one("adopt", strconv.FormatBool(c.Adopt == nil || *c.Adopt), ""),
	}
}

// shownBool writes what is on.
func shownBool(on bool) string {
	if on {
		return "true"
	}
	return ""
}

// number writes a number that was given.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

const agentName = "pipeops-agent"

// mergeList is the list of a flag over the one that is held: the given one takes its place, so that a flag says the same at
// the first and at every later run; "+NAME" adds to what is held.
func mergeList(flag string, held, given []string) ([]string, error) {
	merged := []string{}
	added := 0
	for _, v := range given {
		name, add := strings.CutPrefix(v, "+")
		if name == "" {
			return nil, reason.Newf(reason.Usage, "--%s %q: a name is missing", flag, strings.Join(given, ","))
		}
		if add {
			added++
		}
		if !slices.Contains(merged, name) {
			merged = append(merged, name)
		}
	}
	switch {
	case added == 0 && sameNames(held, merged):
		return held, nil // in the order that k3s knows: nothing has to be started anew
	case added == 0:
		return merged, nil
	case added < len(given):
		return nil, reason.Newf(reason.Usage, "--%s %q: a list is either new, or every name in it has a + before it", flag, strings.Join(given, ","))
	}
	all := slices.Clone(held)
	for _, name := range merged {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, nil
}

func sameNames(a, b []string) bool {
	return len(a) > 0 && slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
