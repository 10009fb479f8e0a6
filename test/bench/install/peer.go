package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

// containerdConfig is what somebody who installs k3s by hand must find out first on a host without CAP_SYS_RESOURCE. It is
// put in place before the clock starts.
//
//go:embed containerd.toml
var containerdConfig []byte

const manifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: IMAGE
        env: [{name: GREETING, value: peer}]
        ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 8080}]
`

// peer is what k3s's documentation says for a machine without a registry, with the same parts left out as we do.
func peer(ctx context.Context, r *rig.Rig, m *lab.Machine, t *watch) error {
	if err := r.PushSample(ctx, m); err != nil {
		return err
	}
	if err := m.PushBytes([]byte(strings.ReplaceAll(manifest, "IMAGE", rig.SampleImage)), "/root/web.yaml", 0o600); err != nil {
		return err
	}
	if r, err := m.Exec(ctx, nil, "sh", "-c", "echo -999 >/proc/self/oom_score_adj"); err != nil {
		return err
	} else if r.Code != 0 {
		const template = "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.tmpl"
		if err := m.PushBytes(containerdConfig, template, 0o600); err != nil {
			return err
		}
	}
	release := r.Mirror.URL() + rig.K3sPath + "/"
	images := "k3s-airgap-images-" + rig.Arch() + ".tar.zst"
	shell := func(name, format string, args ...any) error {
		return t.stage(name, func() error {
			_, err := m.Shell(ctx, fmt.Sprintf(format, args...))
			return err
		})
	}
	if err := shell("images", "mkdir -p /var/lib/rancher/k3s/agent/images && curl -fsSL -o /var/lib/rancher/k3s/agent/images/%s %s",
		images, release+images); err != nil {
		return err
	}
	if err := shell("install.sh", "curl -fsSL -o /root/install.sh %s && GITHUB_URL=%s INSTALL_K3S_VERSION=%s INSTALL_K3S_EXEC='--disable=%s' sh /root/install.sh",
		release+"install.sh", r.Mirror.URL()+"/k3s-io/k3s/releases", rig.K3sVersion, rig.Disable); err != nil {
		return err
	}
	if err := shell("apply", "k3s kubectl apply -f /root/web.yaml"); err != nil {
		return err
	}
	return shell("first answer", `ip=$(k3s kubectl get service web -o 'jsonpath={.spec.clusterIP}')
until curl -fs -m 2 "http://$ip:8080/"; do sleep 0.1; done`)
}
