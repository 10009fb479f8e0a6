package distro

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

const (
	k3sConfig       = k3sEtc + "/config.yaml"
	k3sConfigDropIn = k3sEtc + "/config.yaml.d/50-pipeops-agent.yaml"
	k3sResolvConf   = k3sEtc + "/resolv.pipeops.conf"
)

// config writes the configuration of k3s. A config.yaml that somebody else wrote stays as it is: k3s reads ours after it.
func (k *k3sInstall) config() plan.Step {
	step := plan.Step{
		ID: "k3s-config", Title: "Configure k3s",
		Changes: []string{k3sConfig + " (or " + k3sConfigDropIn + " where that is somebody else's)"},
		Done: func(context.Context) (bool, error) {
			target, text, err := k.configFile()
			if err != nil {
				return false, err
			}
			same, err := sameFile(k.path(target), 0o600, []byte(text))
			if err != nil || !same || k.ResolvConf == nil {
				return same, err
			}
			return sameFile(k.path(k3sResolvConf), 0o644, k.ResolvConf)
		},
		Do: func(_ context.Context, r *plan.Recorder) error {
			if k.ResolvConf != nil {
				if err := r.WriteFile(k3sResolvConf, 0o644, k.ResolvConf); err != nil {
					return err
				}
			}
			target, text, err := k.configFile()
			if err != nil {
				return err
			}
			return r.WriteFile(target, 0o600, []byte(text))
		},
	}
	if k.ResolvConf != nil {
		step.Changes = append(step.Changes, k3sResolvConf)
	}
	return step
}

// configFile returns which file is ours, and its text.
func (k *k3sInstall) configFile() (target, text string, err error) {
	present, err := os.ReadFile(k.path(k3sConfig))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && bytes.HasPrefix(present, []byte(ownMarker)):
		return k3sConfig, k.configText(true), nil
	case err != nil:
		return "", "", err
	}
	return k3sConfigDropIn, k.configText(false), nil
}

// configText is the configuration; whole is false where it only adds to somebody else's lists.
func (k *k3sInstall) configText(whole bool) string {
	settings := map[string]any{"write-kubeconfig-mode": "0600"}
	if k.ClusterInit {
		settings["cluster-init"] = true
	}
	list := func(key string, values []string) {
		if len(values) == 0 {
			return
		}
		if !whole {
			key += "+" // k3s: appends to the value of the files before
		}
		settings[key] = values
	}
	list("disable", k.Disable)
	list("tls-san", k.TLSNames)
	list("kubelet-arg", k.KubeletArgs)
	list("kube-proxy-arg", k.kubeProxyArgs)
	maps.Copy(settings, k.settings)
	if k.NodeName != "" {
		settings["node-name"] = k.NodeName
	}
	if k.ResolvConf != nil {
		settings["resolv-conf"] = k3sResolvConf
	}
	if k.Join != nil {
		settings = k.joined(settings, whole)
	}
	text, err := yaml.Marshal(settings)
	if err != nil { // strings and lists of strings
		panic(err)
	}
	head := []string{ownMarker + ". Changes here are lost; put yours into", "# " + k3sEtc + "/config.yaml.d/, in a file that sorts after 50."}
	if whole {
		head[1] = "# " + k3sEtc + "/config.yaml.d/."
	}
	return strings.Join(head, "\n") + "\n" + string(text)
}
