package cluster

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	nameLabel   = "app.kubernetes.io/name"
	specLabel   = "pipeops.io/proof" // a digest of what the pod runs: another version's pod is not taken for ours
	serverLabel = "pipeops.io/proof-server"
)

// serverScript answers the probe's questions from inside a pod.
//
//go:embed probe_server.sh
var serverScript string

// storageScript writes to the volume.
//
//go:embed probe_storage.sh
var storageScript string

func specDigest() string {
	sum := sha256.Sum256([]byte(serverScript + storageScript))
	return hex.EncodeToString(sum[:8])
}

func labels(name string, server bool) map[string]any {
	return map[string]any{
		nameLabel: name, "app.kubernetes.io/managed-by": wire.FieldManager,
		specLabel: specDigest(), serverLabel: fmt.Sprint(server),
	}
}

// basePod returns a pod with one container that asks for next to nothing, has no rights, and comes from what the node has.
func basePod(name, image, node string, server bool, container map[string]any) *unstructured.Unstructured {
	container["name"], container["image"] = "proof", image
	container["imagePullPolicy"] = "Never" // no registry has to answer for a proof
	container["securityContext"] = map[string]any{
		"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}},
	}
	container["resources"] = map[string]any{
		"requests": map[string]any{"cpu": "1m", "memory": "4Mi"}, "limits": map[string]any{"memory": "64Mi"},
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "namespace": proofNamespace, "labels": labels(name, server)},
		"spec": map[string]any{
			"automountServiceAccountToken": false, "enableServiceLinks": false, "restartPolicy": "Never",
			"terminationGracePeriodSeconds": int64(0),
			// the node that has the image; by affinity, so that the scheduler sees to the volume
			"affinity": map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{
				"nodeSelectorTerms": []any{map[string]any{"matchFields": []any{
					map[string]any{"key": "metadata.name", "operator": "In", "values": []any{node}}}}}}}},
			"tolerations": []any{map[string]any{"operator": "Exists", "effect": "NoSchedule"}},
			"securityContext": map[string]any{
				"runAsNonRoot": true, "runAsUser": int64(65534), "runAsGroup": int64(65534), "fsGroup": int64(65534),
				"seccompProfile": map[string]any{"type": "RuntimeDefault"},
			},
			"containers": []any{container},
		},
	}}
}

func pausePod(name, image, node string) *unstructured.Unstructured {
	return basePod(name, image, node, false, map[string]any{})
}

// serverPod runs an HTTP server that also connects, resolves and fetches from inside when it is asked.
func serverPod(name, image, node string) *unstructured.Unstructured {
	pod := basePod(name, image, node, true, map[string]any{
		"command":      []any{"sh", "-c", serverScript, "sh", fmt.Sprint(podPort), strings.Trim(fmt.Sprint(packetSizes()), "[]"), clusterName},
		"ports":        []any{map[string]any{"containerPort": int64(podPort)}},
		"volumeMounts": []any{map[string]any{"name": "tmp", "mountPath": "/tmp"}},
	})
	volume := map[string]any{"name": "tmp", "emptyDir": map[string]any{"sizeLimit": "4Mi"}}
	pod.Object["spec"].(map[string]any)["volumes"] = []any{volume}
	return pod
}

func serverService(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": proofNamespace, "labels": labels(name, true)},
		"spec": map[string]any{
			"selector": map[string]any{nameLabel: name},
			"ports":    []any{map[string]any{"port": int64(servicePort), "targetPort": int64(podPort), "protocol": "TCP"}},
		},
	}}
}

// storagePod writes to the claim of its own name and ends.
func storagePod(name, image, node string) *unstructured.Unstructured {
	pod := basePod(name, image, node, false, map[string]any{
		"command":      []any{"sh", "-c", storageScript},
		"volumeMounts": []any{map[string]any{"name": "data", "mountPath": "/data"}},
	})
	volume := map[string]any{"name": "data", "persistentVolumeClaim": map[string]any{"claimName": name}}
	pod.Object["spec"].(map[string]any)["volumes"] = []any{volume}
	return pod
}

func storageClaim(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "PersistentVolumeClaim",
		"metadata": map[string]any{"name": name, "namespace": proofNamespace, "labels": labels(name, false)},
		"spec": map[string]any{
			"accessModes": []any{"ReadWriteOnce"},
			"resources":   map[string]any{"requests": map[string]any{"storage": "8Mi"}},
		},
	}}
}
