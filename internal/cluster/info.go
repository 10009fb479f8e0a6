package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// maxAnswer bounds the answers that get reads whole: health and version are short texts.
const maxAnswer = 64 << 10

// get fetches a short answer of the API server.
func (c *Client) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer to %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{path, response.StatusCode, response.Status}
	}
	return body, nil
}

// Ready returns nil when the API server says that it is ready.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.get(ctx, "/readyz")
	return err
}

// Version returns the version of the API server, such as "v1.33.2+k3s1".
func (c *Client) Version(ctx context.Context) (string, error) {
	body, err := c.get(ctx, "/version")
	if err != nil {
		return "", err
	}
	var answer struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("cannot read the version: %w", err)
	}
	return answer.GitVersion, nil
}

// nodesPage is how many nodes are read at a time: each has some 10 to 20 KiB, and a cluster that was adopted may have thousands.
const nodesPage = 100

// eachNode visits the nodes until visit returns false.
func (c *Client) eachNode(ctx context.Context, visit func(*unstructured.Unstructured) bool) error {
	options := metav1.ListOptions{Limit: nodesPage}
	for {
		list, err := c.core("nodes").List(ctx, options)
		if err != nil {
			return fmt.Errorf("cannot list the nodes: %w", err)
		}
		for i := range list.Items {
			if !visit(&list.Items[i]) {
				return nil
			}
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// Nodes returns how many nodes the cluster has and how many of them are Ready.
func (c *Client) Nodes(ctx context.Context) (all, ready int, err error) {
	err = c.eachNode(ctx, func(node *unstructured.Unstructured) bool {
		all++
		if conditionTrue(node, "Ready") {
			ready++
		}
		return true
	})
	if err != nil {
		return 0, 0, err
	}
	return all, ready, nil
}

// conditionTrue reports whether status.conditions holds the condition with status True.
func conditionTrue(object *unstructured.Unstructured, kind string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		if condition["type"] == kind {
			return condition["status"] == "True"
		}
	}
	return false
}
