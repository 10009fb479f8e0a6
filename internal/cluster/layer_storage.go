package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// storageLayer writes to a volume of the default StorageClass and reads it back. The claim is made early: the provisioner,
// a pod like others, takes it up when it has come.
func storageLayer(p Probe) Layer {
	return Layer{
		ID: LayerStorage, Title: "A volume can be written", Condition: health.Storage, Code: reason.LayerStorage,
		After: []string{LayerPod}, Probe: true, First: 3 * time.Minute, Again: 45 * time.Second,
		Check: p.checkStorage,
	}
}

func (p Probe) storageName() string { return p.Name + "-storage" }

func (p Probe) checkStorage(ctx context.Context, c *Client) (string, error) {
	class, provisioner, err := c.defaultClass(ctx)
	if err != nil {
		return "", err
	}
	pods := c.core("pods").Namespace(proofNamespace)
	pod, err := pods.Get(ctx, p.storageName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", p.makeStorage(ctx, c)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the pod: %w", err)
	}
	if pod.GetDeletionTimestamp() != nil || pod.GetLabels()[specLabel] != specDigest() {
		return "", errors.Join(errors.New("the pod of an earlier proof is being removed"), remove(ctx, pods, p.storageName()))
	}
	switch phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase"); phase {
	case "Succeeded":
		return fmt.Sprintf("1 MiB was written to a volume of %s, synced and read back", class), nil
	case "Failed": // the next look makes another one
		return "", errors.Join(fmt.Errorf("a volume of %s cannot be written: %s", class, lastWord(pod)), remove(ctx, pods, p.storageName()))
	default:
		claim, err := c.core("persistentvolumeclaims").Namespace(proofNamespace).Get(ctx, p.storageName(), metav1.GetOptions{})
		if err != nil {
			return "", fmt.Errorf("cannot read the claim: %w", err)
		}
		if bound, _, _ := unstructured.NestedString(claim.Object, "status", "phase"); bound != "Bound" {
			return "", fmt.Errorf("the provisioner %s of %s has made no volume: the claim is %s, the pod %s%s", provisioner, class, bound, phase, waitingReason(pod))
		}
		return "", fmt.Errorf("the pod with a volume of %s is %s%s", class, phase, waitingReason(pod))
	}
}

// makeStorage always returns an error: nothing is written yet.
func (p Probe) makeStorage(ctx context.Context, c *Client) error {
	held, err := c.images(ctx)
	if err != nil {
		return err
	}
	image, node := pick(held, "busybox:")
	if image == "" {
		return noImage()
	}
	_, err = c.core("persistentvolumeclaims").Namespace(proofNamespace).Create(ctx, storageClaim(p.storageName()), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create a claim: %w", err)
	}
	_, err = c.core("pods").Namespace(proofNamespace).Create(ctx, storagePod(p.storageName(), image, node), metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create a pod: %w", err)
	}
	return errors.New("the claim was created just now")
}

// defaultClass returns the default StorageClass and its provisioner. That there is none is an [UnprovableError].
func (c *Client) defaultClass(ctx context.Context) (name, provisioner string, err error) {
	list, err := c.resource("storage.k8s.io", "v1", "storageclasses").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", "", fmt.Errorf("cannot list the storage classes: %w", err)
	}
	for i := range list.Items {
		if list.Items[i].GetAnnotations()["storageclass.kubernetes.io/is-default-class"] == "true" {
			provisioner, _, _ := unstructured.NestedString(list.Items[i].Object, "provisioner")
			return list.Items[i].GetName(), provisioner, nil
		}
	}
	// k3s makes its StorageClass right after the service of its DNS
	if _, err := c.core("services").Namespace(proofNamespace).Get(ctx, "kube-dns", metav1.GetOptions{}); err != nil {
		return "", "", fmt.Errorf("there is no storage class, and not even the DNS service is there yet: %w", err)
	}
	return "", "", &UnprovableError{"NoStorageClass", fmt.Sprintf("none of %d storage classes is the default: nothing was written", len(list.Items))}
}

// lastWord returns what the container left behind.
func lastWord(pod *unstructured.Unstructured) string {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	if len(statuses) == 0 {
		message, _, _ := unstructured.NestedString(pod.Object, "status", "message")
		return message
	}
	status, _ := statuses[0].(map[string]any)
	message, _, _ := unstructured.NestedString(status, "state", "terminated", "message")
	code, _, _ := unstructured.NestedInt64(status, "state", "terminated", "exitCode")
	if message = strings.Join(strings.Fields(message), " "); message == "" {
		return fmt.Sprintf("exit code %d", code)
	}
	return message
}
