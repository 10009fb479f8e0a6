package deploy

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// resource returns the client for objects of a kind that objects makes.
func resource(c *cluster.Client, kind, namespace string) dynamic.ResourceInterface {
	gvr := schema.GroupVersionResource{Version: "v1"}
	switch kind {
	case "Namespace":
		gvr.Resource = "namespaces"
	case "ServiceAccount":
		gvr.Resource = "serviceaccounts"
	case "Service":
		gvr.Resource = "services"
	case "Pod":
		gvr.Resource = "pods"
	case "Deployment":
		gvr.Group, gvr.Resource = "apps", "deployments"
	}
	if namespace == "" {
		return c.Dynamic.Resource(gvr)
	}
	return c.Dynamic.Resource(gvr).Namespace(namespace)
}

// apply makes the objects of a project as the project says, by server-side apply. Fields that others own stay.
func apply(ctx context.Context, c *cluster.Client, p wire.Project) error {
	if err := owned(ctx, c, p.Name); err != nil {
		return err
	}
	for _, o := range objects(p) {
		options := metav1.ApplyOptions{FieldManager: wire.FieldManager, Force: true}
		if _, err := resource(c, o.GetKind(), o.GetNamespace()).Apply(ctx, o.GetName(), o, options); err != nil {
			return fmt.Errorf("cannot apply the %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// owned refuses a namespace of the project's name that somebody else made.
func owned(ctx context.Context, c *cluster.Client, project string) error {
	namespace, err := resource(c, "Namespace", "").Get(ctx, Namespace(project), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("cannot read the namespace %s: %w", Namespace(project), err)
	case namespace.GetLabels()[managedBy] != wire.FieldManager:
		return fmt.Errorf("the namespace %s exists and is not the agent's", Namespace(project))
	}
	return nil
}

// remove deletes the namespace of a project, and with it all its objects. It reports whether the namespace is gone.
func remove(ctx context.Context, c *cluster.Client, project string) (gone bool, err error) {
	if err := owned(ctx, c, project); err != nil {
		return false, err
	}
	err = resource(c, "Namespace", "").Delete(ctx, Namespace(project), metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil && !apierrors.IsConflict(err) {
		return false, fmt.Errorf("cannot delete the namespace %s: %w", Namespace(project), err)
	}
	return false, nil
}

// available reads whether the project's newest pods serve, and if not, why.
func available(ctx context.Context, c *cluster.Client, project string) (wire.Condition, error) {
	deployment, err := resource(c, "Deployment", Namespace(project)).Get(ctx, project, metav1.GetOptions{})
	if err != nil {
		return wire.Condition{}, fmt.Errorf("cannot read the deployment: %w", err)
	}
	number := func(fields ...string) int64 {
		n, _, _ := unstructured.NestedInt64(deployment.Object, fields...)
		return n
	}
	want, updated, ready := number("spec", "replicas"), number("status", "updatedReplicas"), number("status", "availableReplicas")
	condition := wire.Condition{Type: "Available", Status: "False", Reason: "Progressing",
		Message: fmt.Sprintf("%d of %d replicas are available", min(ready, updated), want)}
	if number("status", "observedGeneration") >= deployment.GetGeneration() &&
		updated >= want && ready >= want && number("status", "replicas") == updated {
		condition.Status, condition.Reason = "True", "Available"
		return condition, nil
	}
	if code, message := podTrouble(ctx, c, project); code != "" {
		condition.Reason, condition.Message = code, condition.Message+": "+message
	}
	return condition, nil
}

// podTrouble returns the reason for which a pod of the project waits, such as ErrImagePull.
func podTrouble(ctx context.Context, c *cluster.Client, project string) (code, message string) {
	list, err := resource(c, "Pod", Namespace(project)).List(ctx, metav1.ListOptions{LabelSelector: projectLabel + "=" + project, Limit: 50})
	if err != nil {
		return "", ""
	}
	for i := range list.Items {
		if code, message = containerTrouble(&list.Items[i]); code != "" {
			return code, message
		}
		if code, message = schedulingTrouble(&list.Items[i]); code != "" {
			return code, message
		}
	}
	return "", ""
}

func containerTrouble(pod *unstructured.Unstructured) (code, message string) {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, entry := range statuses {
		status, _ := entry.(map[string]any)
		code, _, _ = unstructured.NestedString(status, "state", "waiting", "reason")
		message, _, _ = unstructured.NestedString(status, "state", "waiting", "message")
		if code != "" && code != "ContainerCreating" && code != "PodInitializing" {
			return code, message
		}
	}
	return "", ""
}

func schedulingTrouble(pod *unstructured.Unstructured) (code, message string) {
	conditions, _, _ := unstructured.NestedSlice(pod.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["type"] == "PodScheduled" && condition["status"] == "False" {
			code, _ = condition["reason"].(string)
			message, _ = condition["message"].(string)
			return code, message
		}
	}
	return "", ""
}
