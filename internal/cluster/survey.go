package cluster

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// surveyTimeout is how long a cluster may take to say what it is: one that is well does so in milliseconds.
const surveyTimeout = 5 * time.Second

// Seen is what a cluster says of itself.
type Seen struct {
	Server     string `json:"server"`     // its address
	Kubernetes string `json:"kubernetes"` // version
	Nodes      int    `json:"nodes"`
	Ready      int    `json:"ready"` // of them
	Provider   string `json:"provider,omitempty"`
	Insecure   bool   `json:"insecure,omitempty"` // the kubeconfig says that nobody shall look at its certificate
	Err        error  `json:"-"`                  // why it cannot be used, as an entry of the catalogue
}

// Look asks the cluster that a kubeconfig leads to what it is. It changes nothing. A user who may not list nodes sees none.
func Look(ctx context.Context, kubeconfig, contextName string) Seen {
	var s Seen
	client, err := ConnectContext(kubeconfig, contextName)
	if err != nil {
		s.Err = Trouble(err, kubeconfig, nil)
		return s
	}
	s.Server, s.Insecure = client.Base.String(), client.cluster.InsecureSkipTLSVerify
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	if s.Kubernetes, err = client.Version(ctx); err != nil {
		s.Err = Trouble(err, kubeconfig, client)
		return s
	}
	_ = client.eachNode(ctx, func(node *unstructured.Unstructured) bool {
		s.Nodes++
		if conditionTrue(node, "Ready") {
			s.Ready++
		}
		if s.Provider == "" {
			s.Provider = Provider(node, s.Kubernetes)
		}
		return true
	})
	return s
}

// Place is where a cluster can be asked.
type Place struct{ Kubeconfig, Context string }

// Survey looks at several clusters at the same time, and returns what was seen in their order.
func Survey(ctx context.Context, places []Place) []Seen {
	seen := make([]Seen, len(places))
	var all sync.WaitGroup
	for i, p := range places {
		all.Go(func() { seen[i] = Look(ctx, p.Kubeconfig, p.Context) })
	}
	all.Wait()
	return seen
}
