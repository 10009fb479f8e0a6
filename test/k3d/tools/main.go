// Command tools stands in for k3d-tools, whose image no registry of the lab has. k3d starts it beside a cluster and looks from
// there at the cluster's network; what the real one does with images it cannot do.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) != 2 || os.Args[1] != "noop" {
		fmt.Fprintf(os.Stderr, "k3d-tools: this is a stand-in of the lab, which cannot do %q\n", os.Args[1:])
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
}
