package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"manifest": main})
}

// TestScripts runs the scripts in testdata/script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": clitest.Exits},
	})
}

func TestRecognise(t *testing.T) {
	for path, want := range map[string]manifest.File{
		"k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s":                                               {Product: "k3s", Version: "v1.33.2+k3s1", Arch: "amd64", Name: "binary", Origin: manifest.Origin},
		"k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s-arm64":                                         {Product: "k3s", Version: "v1.33.2+k3s1", Arch: "arm64", Name: "binary", Origin: manifest.Origin},
		"k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s-airgap-images-arm64.tar.zst":                   {Product: "k3s", Version: "v1.33.2+k3s1", Arch: "arm64", Name: "images", Origin: manifest.Origin},
		"k3s-io/k3s/releases/download/v1.33.2+k3s1/install.sh":                                        {Product: "k3s", Version: "v1.33.2+k3s1", Name: "install-script", Origin: manifest.Origin},
		"k3d-io/k3d/releases/download/v5.8.3/k3d-linux-amd64":                                         {Product: "k3d", Version: "v5.8.3", Arch: "amd64", Name: "binary", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/node-images/k3d-node-image-v1.33.2+k3s1-arm64.tar": {Product: "k3d", Version: "v1.33.2+k3s1", Arch: "arm64", Name: "node-image", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/node-images/k3d-proxy-image-v5.6.0-amd64.tar":      {Product: "k3d", Version: "v5.6.0", Arch: "amd64", Name: "proxy-image", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/node-images/kind-node-image-v1.33.2-amd64.tar":     {Product: "kind", Version: "v1.33.2", Arch: "amd64", Name: "node-image", Origin: manifest.Origin},
		"kubernetes-sigs/kind/releases/download/v0.30.0/kind-linux-arm64":                             {Product: "kind", Version: "v0.30.0", Arch: "arm64", Name: "binary", Origin: manifest.Origin},
		"kubernetes/minikube/releases/download/v1.37.0/minikube-linux-amd64":                          {Product: "minikube", Version: "v1.37.0", Arch: "amd64", Name: "binary", Origin: manifest.Origin},
		"release/v1.33.2/bin/linux/arm64/kubectl":                                                     {Product: "kubectl", Version: "v1.33.2", Arch: "arm64", Name: "binary", Origin: "https://dl.k8s.io"},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-agent-linux-amd64":                  {Product: "pipeops-agent", Version: "v1.2.3", Arch: "amd64", Name: "binary", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-agent_1.2.3_arm64.deb":              {Product: "pipeops-agent", Version: "v1.2.3", Arch: "arm64", Name: "deb", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-agent-1.2.3-1.x86_64.rpm":           {Product: "pipeops-agent", Version: "v1.2.3", Arch: "amd64", Name: "rpm", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-agent-1.2.3-1.aarch64.rpm":          {Product: "pipeops-agent", Version: "v1.2.3", Arch: "arm64", Name: "rpm", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-agent-v1.2.3-linux-amd64.tar.gz":    {Product: "pipeops-agent", Version: "v1.2.3", Arch: "amd64", Name: "archive", Origin: manifest.Origin},
		"pipeopshq/pipeops-agent/releases/download/v1.2.3/pipeops-gateway-linux-amd64":                {Product: "pipeops-gateway", Version: "v1.2.3", Arch: "amd64", Name: "binary", Origin: manifest.Origin},
	} {
		want.Path = path
		if got, ok := recognise(path); !ok || got != want {
			t.Errorf("%s: %+v, %v", path, got, ok)
		}
	}
	for _, path := range []string{"", "k3s", "k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s-armhf", "k3s-io/k3s/releases/download/v1.33.2+k3s1/x/k3s", "x/k3s-io/k3s/releases/download/v1/k3s", "release/v1/bin/linux/amd64/kubectl.sha256"} {
		if got, ok := recognise(path); ok {
			t.Errorf("%s: %+v", path, got)
		}
	}
}
