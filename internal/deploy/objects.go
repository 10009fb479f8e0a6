// Package deploy makes projects run: it turns the desired documents that the gateway holds for this cluster into
// Kubernetes objects by server-side apply, keeps them so, and says what became of them. It knows nothing of the tunnel.
package deploy

import (
	"sort"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// projectLabel is on every object of a project; its value is the project's name.
	projectLabel = "pipeops.io/project"
	managedBy    = "app.kubernetes.io/managed-by"
	// servicePort is the port of a project's Service, whatever port its container has.
	servicePort = 80
)

// Namespace returns the namespace of a project. Each project has one of its own, so that it can be removed whole.
func Namespace(project string) string { return "project-" + project }

// objects returns the Kubernetes objects of a project in the order in which they are applied. The ServiceAccount comes
// before the Deployment: pods of a new namespace would wait for its default account otherwise.
func objects(p wire.Project) []*unstructured.Unstructured {
	replicas := int64(p.Replicas)
	if replicas == 0 {
		replicas = 1
	}
	selector := map[string]any{projectLabel: p.Name}
	pod := map[string]any{
		"serviceAccountName":           p.Name,
		"automountServiceAccountToken": false,
		"enableServiceLinks":           false,
		"securityContext":              map[string]any{"seccompProfile": map[string]any{"type": "RuntimeDefault"}},
		"containers": []any{map[string]any{
			"name":            p.Name,
			"image":           p.Image,
			"ports":           []any{map[string]any{"name": "http", "containerPort": int64(p.Port), "protocol": "TCP"}},
			"env":             env(p.Env),
			"securityContext": map[string]any{"allowPrivilegeEscalation": false},
			"readinessProbe": map[string]any{
				"tcpSocket":     map[string]any{"port": "http"},
				"periodSeconds": int64(2),
			},
		}},
	}
	return []*unstructured.Unstructured{
		object("v1", "Namespace", "", Namespace(p.Name), p.Name, nil),
		object("v1", "ServiceAccount", Namespace(p.Name), p.Name, p.Name, map[string]any{"automountServiceAccountToken": false}),
		object("v1", "Service", Namespace(p.Name), p.Name, p.Name, map[string]any{"spec": map[string]any{
			"selector": selector,
			"ports":    []any{map[string]any{"name": "http", "port": int64(servicePort), "targetPort": "http", "protocol": "TCP"}},
		}}),
		object("apps/v1", "Deployment", Namespace(p.Name), p.Name, p.Name, map[string]any{"spec": map[string]any{
			"replicas": replicas,
			"selector": map[string]any{"matchLabels": selector},
			"template": map[string]any{
				"metadata": map[string]any{"labels": labels(p.Name)},
				"spec":     pod,
			},
		}}),
	}
}

func labels(project string) map[string]any {
	return map[string]any{
		projectLabel:             project,
		"app.kubernetes.io/name": project,
		managedBy:                wire.FieldManager,
	}
}

func object(apiVersion, kind, namespace, name, project string, rest map[string]any) *unstructured.Unstructured {
	metadata := map[string]any{"name": name, "labels": labels(project)}
	if namespace != "" {
		metadata["namespace"] = namespace
	}
	content := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	for key, value := range rest {
		content[key] = value
	}
	return &unstructured.Unstructured{Object: content}
}

// env lists the variables by name, so that the same project always gives the same object.
func env(variables map[string]string) []any {
	names := make([]string, 0, len(variables))
	for name := range variables {
		names = append(names, name)
	}
	sort.Strings(names)
	list := make([]any, 0, len(names))
	for _, name := range names {
		list = append(list, map[string]any{"name": name, "value": variables[name]})
	}
	return list
}
