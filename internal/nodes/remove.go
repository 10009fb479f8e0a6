package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// removeTime bounds how long a Node may take to go: the controller of k3s first takes its member out of etcd, and where that
// controller ran on the server that goes, another one has to take over before.
const removeTime = 2 * time.Minute

// Remove drains a node and takes it out of the cluster: its Node, by whose end k3s takes its member out of etcd too, and the
// password that k3s keeps for its name. One that is not ready cannot be drained, and is removed only by force. The machine
// itself is not touched. k3s on a server that was taken out of etcd starts again with an empty etcd and joins; so a server
// that runs is drained, and then it is waited until it has been uninstalled, or has stopped where the others can do without
// it; by force it is not. The error is NODE_UNKNOWN, NODE_NEEDED, NODE_NOT_DRAINED, NODE_RUNS, or one of the API server.
func Remove(ctx context.Context, client dynamic.Interface, node string, o DrainOptions, tell func(Progress)) error {
	list, err := List(ctx, client)
	if err != nil {
		return err
	}
	target, err := find(list, node)
	if err != nil {
		return err
	}
	if err := spare(list, target); err != nil {
		return err
	}
	switch {
	case target.Ready == "True":
		err = Drain(ctx, client, node, o, tell)
	case o.Force:
		tell(Progress{Kind: "skipped", Message: "the node is not ready, so nothing on it can be told to end: " + target.Message})
		err = Cordon(ctx, client, node, true)
	default:
		err = reason.Newf(reason.NodeNotDrained, "%s is not ready, so nothing on it can be told to end: %s", node, target.Message).
			WithFix("make sure that the machine is switched off, then run the command again with --force")
	}
	if err != nil {
		return err
	}
	switch runs := target.Ready == "True"; {
	case runs && target.Etcd && !o.Force:
		gone, err := awaitEnd(ctx, client, target, o, tell)
		if err != nil || gone {
			return err
		}
	case runs:
		tell(Progress{Kind: "notice", Message: "k3s still runs there, and would join again when it is started anew: run pipeops-agent uninstall on that machine"})
	}
	tell(Progress{Kind: "deleting", Message: "the node"})
	return forget(ctx, client, target, tell)
}

// awaitEnd waits until a server has stopped, or has gone by itself, which it reports.
func awaitEnd(ctx context.Context, client dynamic.Interface, target Node, o DrainOptions, tell func(Progress)) (gone bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit(), errDrainTime)
	defer cancel()
	tell(Progress{Kind: "waiting", Message: "now run pipeops-agent uninstall on that machine: its k3s would join again by itself"})
	for {
		list, err := List(ctx, client)
		if err == nil {
			now, unknown := find(list, target.Name)
			switch {
			case unknown != nil || now.uid != target.uid:
				tell(Progress{Kind: "deleted"})
				return true, nil
			case now.Ready != "True" && spare(list, now) == nil:
				return false, nil
			}
		}
		timer := time.NewTimer(drainEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if !errors.Is(context.Cause(ctx), errDrainTime) {
				return false, ctx.Err()
			}
			return false, reason.Newf(reason.NodeRuns, "%s was ready %s after it had been drained", target.Name, o.limit())
		}
	}
}

// Forget takes the Node of a machine that is gone out of the cluster without draining it, if the cluster can spare it.
func Forget(ctx context.Context, client dynamic.Interface, node string) error {
	list, err := List(ctx, client)
	if err != nil {
		return err
	}
	target, err := find(list, node)
	if err != nil {
		return err
	}
	if err := spare(list, target); err != nil {
		return err
	}
	return forget(ctx, client, target, func(Progress) {})
}

func find(list []Node, name string) (Node, error) {
	for _, n := range list {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, reason.Newf(reason.NodeUnknown, "%.70q", name)
}

func forget(ctx context.Context, client dynamic.Interface, target Node, tell func(Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	uid := types.UID(target.uid)
	err := core(client, "nodes").Delete(ctx, target.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if absent(err) != nil {
		return fmt.Errorf("cannot delete the node: %w", err)
	}
	for {
		o, err := core(client, "nodes").Get(ctx, target.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && o.GetUID() != uid {
			break
		}
		timer := time.NewTimer(drainEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("cannot see the node go: it was told to, and is there after %s; see the log of k3s on a server: %w", removeTime, ctx.Err())
		}
	}
	// k3s does so itself, unless its controller was away
	secret := target.Name + ".node-password.k3s"
	if err := absent(core(client, "secrets").Namespace(system).Delete(ctx, secret, metav1.DeleteOptions{})); err != nil {
		return fmt.Errorf("cannot delete the node's password: %w", err)
	}
	tell(Progress{Kind: "deleted"})
	return nil
}

// Spare returns NODE_NEEDED if the cluster cannot do without a node, and NODE_UNKNOWN if it has none of the name.
func Spare(list []Node, node string) error {
	target, err := find(list, node)
	if err != nil {
		return err
	}
	return spare(list, target)
}

// spare returns NODE_NEEDED if the cluster cannot do without a node: it is the last server, or etcd would lose the majority by
// which it decides, or has lost it, so that it could not even take the member out.
func spare(list []Node, target Node) error {
	if !target.Server && !target.Etcd {
		return nil
	}
	servers, members, ready := 0, 0, 0
	for _, n := range list {
		if n.Name == target.Name {
			continue
		}
		if n.Server {
			servers++
		}
		if n.Etcd {
			members++
			if n.Ready == "True" {
				ready++
			}
		}
	}
	if target.Server && servers == 0 {
		return reason.Newf(reason.NodeNeeded, "%s is the last server", target.Name)
	}
	if !target.Etcd {
		return nil
	}
	if members == 0 {
		return reason.Newf(reason.NodeNeeded, "%s holds the last copy of the cluster's state", target.Name)
	}
	voters := ready // that can agree to the removal
	if target.Ready == "True" {
		voters++
	}
	if most := majority(members + 1); voters < most {
		return reason.Newf(reason.NodeNeeded, "etcd has %d members, %d of them ready; it needs %d to take one out", members+1, voters, most).
			WithFix("bring the other servers back first")
	}
	if most := majority(members); ready < most {
		return reason.Newf(reason.NodeNeeded, "without %s etcd has %d members, %d of them ready; it needs %d", target.Name, members, ready, most).
			WithFix("bring the other servers back first")
	}
	return nil
}

func majority(members int) int { return members/2 + 1 }
