// Command pipeops-agent turns this machine into a Kubernetes server that a gateway can use, and keeps it so.
package main

import "github.com/pipeopshq/pipeops-agent/internal/cli"

func main() {
	g := &globals{}
	cli.Main(newRoot(g), &g.Output)
}
