package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// Layer is one thing that must work before a cluster is of use. Layers build on each other.
type Layer struct {
	ID        string
	Title     string
	Condition string      // of package health, under which its outcome is kept
	Code      reason.Code // of its failure
	After     []string    // layers without which it cannot be proved
	Behind    []string    // layers whose outcome it awaits, whatever that is
	Probe     bool        // it needs objects of the probe in the cluster

	// First and Again are how long it may take: in an install, and on a cluster that has been up.
	First, Again time.Duration

	// Check returns what it saw when the layer works now. An [UnprovableError] error says that it cannot be told here.
	Check func(ctx context.Context, c *Client) (evidence string, err error)
}

// UnprovableError is the error of a layer that cannot be proved on this cluster, which is no failure of the cluster's.
type UnprovableError struct {
	Reason  string // in one word, such as "NoStorageClass"
	Message string
}

// Error returns both parts.
func (u *UnprovableError) Error() string { return u.Reason + ": " + u.Message }

// The ids of the layers.
const (
	LayerAPI     = "api"
	LayerNode    = "node"
	LayerDNS     = "dns"
	LayerPod     = "pod"
	LayerNetwork = "pod-network"
	LayerService = "service"
	LayerPacket  = "large-packet"
	LayerStorage = "storage"
)

// The reasons of a condition that is unknown: the cluster is not ours to make objects in; or it could not be tried, or not
// to the end.
const (
	Adopted   = "Adopted"
	NotProved = "NotProved"
)

// API returns the first layer, on which all others build.
func API() Layer { return apiLayer() }

// Layers returns the further layers in the order in which they come up. p makes the objects of those that need some. Of a
// cluster that was adopted, only what its API tells and a pod are proved.
func Layers(p Probe) []Layer {
	all := []Layer{
		nodeLayer(),
		dnsLayer(p),
		podLayer(p),
		networkLayer(p),
		serviceLayer(p),
		packetLayer(p),
		storageLayer(p),
	}
	if p.Adopted {
		return slices.DeleteFunc(all, func(l Layer) bool { return l.Probe && l.ID != LayerPod })
	}
	return all
}

// Unproved returns the outcomes of the layers that [Layers] leaves out of an adopted cluster.
func Unproved(now time.Time) []Outcome {
	var all []Outcome
	for _, l := range Layers(Probe{}) {
		if l.Probe && l.ID != LayerPod {
			all = append(all, Outcome{Layer: l, Status: health.Unknown, Reason: Adopted, At: now,
				Message: "the cluster was here before: nothing is made in it to prove this"})
		}
	}
	return all
}

// Outcome is what became of a layer.
type Outcome struct {
	Layer   Layer
	Status  string // of package health
	Reason  string
	Message string
	At      time.Time
	Err     error // why it failed; nil if it was proved, or cannot be told
}

// Kept returns the outcome as the condition that is kept.
func (o Outcome) Kept() wire.Condition {
	return wire.Condition{Type: o.Layer.Condition, Status: o.Status, Reason: o.Reason, Message: o.Message, Since: o.At, Checked: o.At}
}

func outcome(l Layer, evidence string, err error, now time.Time) Outcome {
	o := Outcome{Layer: l, Status: health.True, Reason: "Proved", Message: evidence, At: now}
	u, e := (*UnprovableError)(nil), (*reason.Error)(nil)
	switch {
	case err == nil:
	case errors.As(err, &u):
		o.Status, o.Reason, o.Message = health.Unknown, u.Reason, u.Message
	case errors.As(err, &e):
		o.Status, o.Reason, o.Message, o.Err = health.False, string(e.Code), e.Evidence, err
	default:
		o.Status, o.Reason, o.Message, o.Err = health.Unknown, NotProved, err.Error(), err
	}
	o.Message = strings.Join(strings.Fields(o.Message), " ") // one line, whatever a program in a pod printed
	return o
}
