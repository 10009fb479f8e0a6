package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Probe makes the objects that prove what the API cannot tell: a pod, a Service in front of it, and a pod with a volume.
// They live in kube-system, under names that start with Name, for as long as the proof takes. Whoever proves at the same time
// needs another name. Objects that an earlier, killed proof left are used if they are as this one would make them.
type Probe struct {
	Name    string
	Adopted bool // the cluster is not ours: this machine need not be a node of it
	Far     bool // this machine is no node, and reaches pods by way of the API server: Dial is that of [Far]
	// Dial reaches pods and service addresses; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// The names of the probes: that of an install, and that of the running agent.
const (
	InstallProbe = "pipeops-proof"
	AgentProbe   = "pipeops-proof-again"
)

const (
	proofNamespace = "kube-system"
	podPort        = 8080
	servicePort    = 80
)

// orphanAge is the age at which objects of a probe belong to nobody: no proof takes so long.
const orphanAge = 30 * time.Minute

// proofPod is the pod of a probe when it runs.
type proofPod struct {
	ip, node, image string
	serves          bool // it has a shell and answers; without it is a pause container
}

// pod returns the pod of the probe, which it makes if it is not there. Until it runs, the error says what it waits for.
func (p Probe) pod(ctx context.Context, c *Client) (proofPod, error) {
	pods := c.core("pods").Namespace(proofNamespace)
	pod, err := pods.Get(ctx, p.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return proofPod{}, p.makePod(ctx, c)
	}
	if err != nil {
		return proofPod{}, fmt.Errorf("cannot read the pod: %w", err)
	}
	if pod.GetDeletionTimestamp() != nil {
		return proofPod{}, errors.New("the pod of an earlier proof is being removed")
	}
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if pod.GetLabels()[specLabel] != specDigest() || phase == "Failed" || phase == "Succeeded" {
		return proofPod{}, errors.Join(fmt.Errorf("the pod of an earlier proof is %s: it is made anew", phase), remove(ctx, pods, p.Name))
	}
	if phase != "Running" {
		return proofPod{}, fmt.Errorf("the pod is %s%s", phase, waitingReason(pod))
	}
	found := proofPod{serves: pod.GetLabels()[serverLabel] == "true"}
	found.ip, _, _ = unstructured.NestedString(pod.Object, "status", "podIP")
	found.node, _, _ = unstructured.NestedString(pod.Object, "spec", "nodeName")
	if containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers"); len(containers) > 0 {
		container, _ := containers[0].(map[string]any)
		found.image, _ = container["image"].(string)
	}
	return found, nil
}

// asker names for people who asks the pod.
func (p Probe) asker() string {
	if p.Far {
		return "this machine, by way of the API server,"
	}
	return "this machine"
}

// server returns the pod where it can answer.
func (p Probe) server(ctx context.Context, c *Client) (proofPod, error) {
	pod, err := p.pod(ctx, c)
	if err == nil && !pod.serves {
		err = noImage()
	}
	if err == nil && pod.ip == "" {
		err = errors.New("the pod has no address yet")
	}
	return pod, err
}

func noImage() error {
	return &UnprovableError{Reason: "NoImage", Message: "no node has an image with busybox, and none is pulled for a proof"}
}

// makePod always returns an error: a pod that was made just now does not run yet.
func (p Probe) makePod(ctx context.Context, c *Client) error {
	held, err := c.images(ctx)
	if err != nil {
		return err
	}
	image, node := pick(held, "busybox:")
	serves := image != "" && !p.Adopted
	if !serves {
		if image, node = pick(held, "pause:"); image == "" {
			return errors.New("no node has a pause image yet")
		}
	}
	if up, err := c.networkUpOn(ctx, node); err != nil || !up {
		return cmp.Or(err, errors.New("the pod network of the node is not there yet"))
	}
	pod := pausePod(p.Name, image, node)
	if serves {
		pod = serverPod(p.Name, image, node)
	}
	_, err = c.core("pods").Namespace(proofNamespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create a pod: %w", err)
	}
	if serves {
		if err := p.makeService(ctx, c); err != nil {
			return err
		}
	}
	return errors.New("the pod was created just now")
}

// service returns the address of the Service in front of the pod, which it makes if it is not there.
func (p Probe) service(ctx context.Context, c *Client) (string, error) {
	service, err := c.core("services").Namespace(proofNamespace).Get(ctx, p.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", errors.Join(errors.New("the service was created just now"), p.makeService(ctx, c))
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the service: %w", err)
	}
	address, _, _ := unstructured.NestedString(service.Object, "spec", "clusterIP")
	if address == "" {
		return "", errors.New("the service has no address yet")
	}
	return address, nil
}

func (p Probe) makeService(ctx context.Context, c *Client) error {
	_, err := c.core("services").Namespace(proofNamespace).Create(ctx, serverService(p.Name), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create a service: %w", err)
	}
	return nil
}

// Remove removes whatever of the probe's objects is there.
func (p Probe) Remove(ctx context.Context, c *Client) error {
	return errors.Join(
		remove(ctx, c.core("pods").Namespace(proofNamespace), p.Name),
		remove(ctx, c.core("pods").Namespace(proofNamespace), p.storageName()),
		remove(ctx, c.core("services").Namespace(proofNamespace), p.Name),
		remove(ctx, c.core("persistentvolumeclaims").Namespace(proofNamespace), p.storageName()),
	)
}

// RemoveOrphans removes the objects of a probe that was killed, once they are so old that nobody can be using them.
func (p Probe) RemoveOrphans(ctx context.Context, c *Client, now time.Time) error {
	var errs []error
	for _, o := range []struct{ resource, name string }{
		{"pods", p.Name}, {"pods", p.storageName()}, {"services", p.Name}, {"persistentvolumeclaims", p.storageName()},
	} {
		api := c.core(o.resource).Namespace(proofNamespace)
		object, err := api.Get(ctx, o.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			errs = append(errs, fmt.Errorf("cannot look for what a proof left: %w", err))
		case now.Sub(object.GetCreationTimestamp().Time) > orphanAge:
			errs = append(errs, remove(ctx, api, o.name))
		}
	}
	return errors.Join(errs...)
}

type deleter interface {
	Delete(ctx context.Context, name string, options metav1.DeleteOptions, subresources ...string) error
}

func remove(ctx context.Context, api deleter, name string) error {
	now := int64(0)
	if err := api.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot remove %s: %w", name, err)
	}
	return nil
}

// heldImage is an image that a node has.
type heldImage struct{ name, node string }

// images lists the images that ready nodes have, with their tags. A node lists the 50 largest.
func (c *Client) images(ctx context.Context) ([]heldImage, error) {
	var held []heldImage
	cordoned, all := 0, 0
	err := c.eachNode(ctx, func(node *unstructured.Unstructured) bool {
		all++
		if off, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable"); off {
			cordoned++
		} else if conditionTrue(node, "Ready") {
			held = append(held, imagesOf(node)...)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if cordoned > 0 && cordoned == all {
		return nil, &UnprovableError{Reason: "Cordoned", Message: "every node was told to take no pods"}
	}
	return held, nil
}

func imagesOf(node *unstructured.Unstructured) []heldImage {
	var held []heldImage
	images, _, _ := unstructured.NestedSlice(node.Object, "status", "images")
	for _, entry := range images {
		image, _ := entry.(map[string]any)
		names, _, _ := unstructured.NestedStringSlice(image, "names")
		for _, name := range names {
			if !strings.Contains(name, "@") {
				held = append(held, heldImage{name, node.GetName()})
			}
		}
	}
	return held
}

// pick returns the first image whose name holds the words, and the node that has it; "" if there is none.
func pick(held []heldImage, words string) (image, node string) {
	i := slices.IndexFunc(held, func(h heldImage) bool { return strings.Contains(h.name, words) })
	if i < 0 {
		return "", ""
	}
	return held[i].name, held[i].node
}

// waitingReason returns what a pod waits for, ": reason: message", or nothing.
func waitingReason(pod *unstructured.Unstructured) string {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, entry := range statuses {
		status, _ := entry.(map[string]any)
		reason, _, _ := unstructured.NestedString(status, "state", "waiting", "reason")
		message, _, _ := unstructured.NestedString(status, "state", "waiting", "message")
		if reason != "" {
			return strings.TrimRight(": "+reason+": "+message, ": ")
		}
	}
	conditions, _, _ := unstructured.NestedSlice(pod.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["type"] == "PodScheduled" && condition["status"] == "False" {
			return fmt.Sprintf(": %v: %v", condition["reason"], condition["message"])
		}
	}
	return ""
}
