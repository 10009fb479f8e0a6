package bootstrap

import (
	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// seenEnough refuses to change a machine of which it could not be seen whether a cluster is there, or who holds its ports. A
// plan may say so much and go on; what is unknown refuses nothing there.
func seenEnough(f host.Facts) error {
	switch {
	case f.Clusters == nil:
		return reason.Newf(reason.HostUnseen, "clusters: %s", f.Errors["clusters"])
	case f.Listening == nil:
		return reason.Newf(reason.HostUnseen, "ports: %s", f.Errors["ports"])
	}
	return nil
}
