package nodes

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

const (
	// TokenLife is how long a machine has to fetch k3s and to start it. It is counted by the clock of the server.
	TokenLife = time.Hour
	// nodeGroup is the group that k3s gives rights to for joining; `k3s token create` puts it into its tokens.
	nodeGroup = "system:bootstrappers:k3s:default-node-token"

	tokenType = "bootstrap.kubernetes.io/token"
	// labels of the Secrets of such tokens.
	labelMachine = "pipeops.io/machine" // id of the machine that it is for
	// annotationNode is the Node after whose coming the token is of no use any more.
	annotationNode = "pipeops.io/node"
)

// managed selects the tokens that were made here.
const managed = "app.kubernetes.io/managed-by=" + wire.FieldManager + "," + labelMachine

// makeToken makes a bootstrap token for one worker, as `k3s token create` does, and takes away those that were made for the
// same machine before. there says that a Node of its name is there already.
func (d Door) makeToken(ctx context.Context, client dynamic.Interface, request wire.AgentJoinRequest, there bool) (string, error) {
	secrets := core(client, "secrets").Namespace(system)
	err := each(ctx, secrets, metav1.ListOptions{LabelSelector: managed}, func(o *unstructured.Unstructured) error {
		if o.GetLabels()[labelMachine] != request.Machine {
			return nil
		}
		return absent(secrets.Delete(ctx, o.GetName(), metav1.DeleteOptions{}))
	})
	if err != nil {
		return "", fmt.Errorf("cannot take away earlier tokens of this machine: %w", err)
	}
	id, secret := word(6), word(16)
	metadata := map[string]any{
		"name": "bootstrap-token-" + id, "namespace": system,
		"labels": map[string]any{"app.kubernetes.io/managed-by": wire.FieldManager, labelMachine: request.Machine},
	}
	if !there { // else the Node's being there says nothing, and the token lives to its end
		metadata["annotations"] = map[string]any{annotationNode: request.NodeName}
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": tokenType,
		"stringData": map[string]any{
			"token-id": id, "token-secret": secret,
			"description":                    "for the machine " + request.NodeName + " to join by pipeops-agent join",
			"expiration":                     d.now().Add(TokenLife).UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true",
			"auth-extra-groups":              nodeGroup,
		},
	}}
	if _, err := secrets.Create(ctx, object, metav1.CreateOptions{FieldManager: wire.FieldManager}); err != nil {
		return "", fmt.Errorf("cannot make a token for the node: %w", err)
	}
	return id + "." + secret, nil
}

// word returns n random letters and digits, as bootstrap tokens have them.
func word(n int) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var out strings.Builder
	for b := make([]byte, 1); out.Len() < n; {
		_, _ = rand.Read(b)                              // never fails: it ends the process instead
		if int(b[0]) < 256/len(alphabet)*len(alphabet) { // else some would be likelier
			out.WriteByte(alphabet[int(b[0])%len(alphabet)])
		}
	}
	return out.String()
}

// Sweep takes away the tokens of machines that have become nodes, and those whose time is over, and returns how many are
// left.
func (d Door) Sweep(ctx context.Context, client dynamic.Interface, log *slog.Logger) (left int, err error) {
	secrets := core(client, "secrets").Namespace(system)
	var tokens []unstructured.Unstructured
	err = each(ctx, secrets, metav1.ListOptions{LabelSelector: managed}, func(o *unstructured.Unstructured) error {
		tokens = append(tokens, *o)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("cannot list the tokens of nodes: %w", err)
	}
	if len(tokens) == 0 {
		return 0, nil
	}
	list, err := List(ctx, client)
	if err != nil {
		return len(tokens), err
	}
	ready := map[string]bool{}
	for _, n := range list {
		ready[n.Name] = n.Ready == "True"
	}
	for _, o := range tokens {
		node := o.GetAnnotations()[annotationNode]
		come := node != "" && ready[node]
		if !come && d.now().Before(o.GetCreationTimestamp().Add(TokenLife)) {
			left++
			continue
		}
		if err := absent(secrets.Delete(ctx, o.GetName(), metav1.DeleteOptions{})); err != nil {
			return left, fmt.Errorf("cannot take away the token of the node %s: %w", node, err)
		}
		log.Info("token of a node taken away", "node", node, "come", come)
	}
	return left, nil
}
