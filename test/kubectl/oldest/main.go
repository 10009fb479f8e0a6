// Command oldest is the kubectl of Kubernetes 1.20, the oldest that the tests of the Kubernetes API are run with.
package main

import (
	"os"

	"k8s.io/kubectl/pkg/cmd"
)

func main() {
	if err := cmd.NewDefaultKubectlCommand().Execute(); err != nil {
		os.Exit(1)
	}
}
