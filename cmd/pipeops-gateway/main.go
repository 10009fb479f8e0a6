// Command pipeops-gateway is the control plane's gateway: agents connect to it, people and kubectl reach clusters by it.
package main

import "github.com/pipeopshq/pipeops-agent/internal/cli"

func main() {
	g := &globals{}
	cli.Main(newRoot(g), &g.Output)
}
