package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// DefaultDrain bounds a drain: a pod has 30 s to end by default, and its successor has to be ready before a
// PodDisruptionBudget lets the next one go.
const DefaultDrain = 5 * time.Minute

const (
	// drainEvery is the pause between two looks at the pods of a node that is drained.
	drainEvery = time.Second
	// blockedEvery is the pause before a pod that a budget holds back is asked to go again; kubectl drain waits as long.
	blockedEvery = 5 * time.Second
	// maxNamed is how many pods an error names.
	maxNamed = 8
)

// DrainOptions say how a node is drained. The zero value evicts what will be made again elsewhere, with its own time to end.
type DrainOptions struct {
	Force        bool          `json:"force,omitempty"`          // also pods that nobody makes again
	KeepEmptyDir bool          `json:"keep_empty_dir,omitempty"` // refuse where a pod would lose the data of an emptyDir
	Grace        *int64        `json:"grace,omitempty"`          // seconds that each pod has to end; nil means its own
	Timeout      time.Duration `json:"timeout,omitempty"`        // nanoseconds; 0 means DefaultDrain
}

func (o DrainOptions) limit() time.Duration {
	if o.Timeout == 0 {
		return DefaultDrain
	}
	return o.Timeout
}

// Progress is one line of what is done to a node.
type Progress struct {
	Kind    string `json:"kind"`          // cordoned, uncordoned, skipped, evicting, blocked, gone, drained, notice, waiting, deleting, deleted
	Pod     string `json:"pod,omitempty"` // namespace/name
	Message string `json:"message,omitempty"`
	Left    int    `json:"left"` // pods that have to go
}

// pod is a pod on a node that is drained.
type pod struct {
	namespace, name string
	uid             types.UID
	phase           string
	mirror          bool   // the kubelet makes it of a file; it cannot be evicted
	controller      string // kind of what makes it again, "" if nothing does
	emptyDir        bool
	ending          bool // it was told to end
}

func (p pod) String() string { return p.namespace + "/" + p.name }

// waiting is a pod that has to go.
type waiting struct {
	pod
	next    time.Time // when it is asked to go next
	blocked string    // why it was not let go
}

// Drain takes all pods off a node but those of DaemonSets and those that the kubelet makes of files, by evictions, which
// honour PodDisruptionBudgets. The node takes no new pods from then on, whatever comes of it. tell is called with what
// happens. The error is NODE_UNKNOWN, NODE_NOT_DRAINED, or one of the API server.
func Drain(ctx context.Context, client dynamic.Interface, node string, o DrainOptions, tell func(Progress)) error {
	if err := Cordon(ctx, client, node, true); err != nil {
		return err
	}
	tell(Progress{Kind: "cordoned"})
	held, err := podsOn(ctx, client, node)
	if err != nil {
		return err
	}
	leave, refused := sortOut(held, o, tell)
	if len(refused) > 0 {
		return reason.Newf(reason.NodeNotDrained, "%s", some(refused)).
			WithFix("move or delete these pods, or run the command again with --force, or without --keep-empty-dir")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit(), errDrainTime)
	defer cancel()
	if err := evictAll(ctx, client, node, leave, o, tell); err != nil {
		return err
	}
	tell(Progress{Kind: "drained"})
	return nil
}

var errDrainTime = errors.New("the time is over")

// Cordon lets a node take no new pods, or lets it take them again. The error is NODE_UNKNOWN or one of the API server.
func Cordon(ctx context.Context, client dynamic.Interface, node string, cordoned bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
	_, err := core(client, "nodes").Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: wire.FieldManager})
	if apierrors.IsNotFound(err) {
		return reason.Newf(reason.NodeUnknown, "%.70q", node)
	}
	if err != nil {
		return fmt.Errorf("cannot change the node: %w", err)
	}
	return nil
}

func podsOn(ctx context.Context, client dynamic.Interface, node string) ([]pod, error) {
	var list []pod
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()}
	err := each(ctx, core(client, "pods"), options, func(o *unstructured.Unstructured) error {
		p, on, err := parsePod(o)
		if on == node {
			list = append(list, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the pods of the node: %w", err)
	}
	return list, nil
}

func parsePod(o *unstructured.Unstructured) (p pod, node string, err error) {
	raw, err := o.MarshalJSON()
	if err != nil {
		return pod{}, "", fmt.Errorf("cannot read a pod: %w", err)
	}
	var held struct {
		Metadata struct {
			Annotations       map[string]string `json:"annotations"`
			DeletionTimestamp *string           `json:"deletionTimestamp"`
			OwnerReferences   []struct {
				Kind       string `json:"kind"`
				Controller bool   `json:"controller"`
			} `json:"ownerReferences"`
		} `json:"metadata"`
		Spec struct {
			NodeName string                       `json:"nodeName"`
			Volumes  []map[string]json.RawMessage `json:"volumes"`
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
	}
	if err := json.Unmarshal(raw, &held); err != nil {
		return pod{}, "", fmt.Errorf("cannot read a pod: %w", err)
	}
	p = pod{namespace: o.GetNamespace(), name: o.GetName(), uid: o.GetUID(), phase: held.Status.Phase, ending: held.Metadata.DeletionTimestamp != nil}
	_, p.mirror = held.Metadata.Annotations["kubernetes.io/config.mirror"]
	for _, owner := range held.Metadata.OwnerReferences {
		if owner.Controller {
			p.controller = owner.Kind
		}
	}
	for _, v := range held.Spec.Volumes {
		_, p.emptyDir = v["emptyDir"]
		if p.emptyDir {
			break
		}
	}
	return p, held.Spec.NodeName, nil
}

// sortOut decides which pods have to go, and why some may not.
func sortOut(held []pod, o DrainOptions, tell func(Progress)) (leave []*waiting, refused []string) {
	var skipped []Progress
	for _, p := range held {
		over := p.phase == "Succeeded" || p.phase == "Failed"
		switch {
		case p.mirror:
			skipped = append(skipped, Progress{Kind: "skipped", Pod: p.String(), Message: "the kubelet makes it of a file"})
		case p.controller == "DaemonSet" && !over:
			skipped = append(skipped, Progress{Kind: "skipped", Pod: p.String(), Message: "it is of a DaemonSet"})
		case over, p.ending:
			leave = append(leave, &waiting{pod: p})
		case p.controller == "" && !o.Force:
			refused = append(refused, p.String()+" is made again by nobody")
		case p.emptyDir && o.KeepEmptyDir:
			refused = append(refused, p.String()+" keeps data in an emptyDir")
		default:
			leave = append(leave, &waiting{pod: p})
		}
	}
	for _, s := range skipped {
		s.Left = len(leave)
		tell(s)
	}
	return leave, refused
}

// some joins what is said of pods, at most maxNamed.
func some(list []string) string {
	if n := len(list) - maxNamed; n > 0 {
		return strings.Join(list[:maxNamed], "; ") + fmt.Sprintf("; and %d more", n)
	}
	return strings.Join(list, "; ")
}

// evictAll asks the pods to go until all of them have. A failure of the API server is no reason to give up: it may be that of
// one server of several.
func evictAll(ctx context.Context, client dynamic.Interface, node string, leave []*waiting, o DrainOptions, tell func(Progress)) error {
	var unable error
	for len(leave) > 0 {
		for _, w := range leave {
			if w.ending || time.Now().Before(w.next) || ctx.Err() != nil {
				continue
			}
			said := w.blocked
			w.evict(ctx, client, o)
			switch {
			case w.ending:
				tell(Progress{Kind: "evicting", Pod: w.String(), Left: len(leave)})
			case w.blocked != said && ctx.Err() == nil:
				tell(Progress{Kind: "blocked", Pod: w.String(), Message: w.blocked, Left: len(leave)})
			}
		}
		held, err := podsOn(ctx, client, node)
		if end, _ := ctx.Deadline(); ctx.Err() == nil && time.Now().Before(end) { // else it is the time that is over
			unable = err
		}
		if err == nil {
			there := map[types.UID]bool{}
			for _, p := range held {
				there[p.uid] = true
			}
			left := slices.DeleteFunc(slices.Clone(leave), func(w *waiting) bool { return !there[w.uid] })
			for n, w := range slices.DeleteFunc(slices.Clone(leave), func(w *waiting) bool { return there[w.uid] }) {
				tell(Progress{Kind: "gone", Pod: w.String(), Left: len(leave) - n - 1})
			}
			if leave = left; len(leave) == 0 {
				return nil
			}
		}
		timer := time.NewTimer(drainEvery)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return notDrained(ctx, leave, unable)
		}
	}
	return nil
}

// evict asks one pod to go.
func (w *waiting) evict(ctx context.Context, client dynamic.Interface, o DrainOptions) {
	options := map[string]any{"preconditions": map[string]any{"uid": string(w.uid)}}
	if o.Grace != nil {
		options["gracePeriodSeconds"] = *o.Grace
	}
	eviction := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": w.name, "namespace": w.namespace}, "deleteOptions": options,
	}}
	_, err := core(client, "pods").Namespace(w.namespace).Create(ctx, eviction, metav1.CreateOptions{}, "eviction")
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err): // the last is another pod of the same name
		w.ending = true
	case apierrors.HasStatusCause(err, "NamespaceTerminating"): // it goes with its namespace
		w.ending = true
	default:
		w.blocked, w.next = err.Error(), time.Now().Add(blockedEvery)
	}
}

func notDrained(ctx context.Context, leave []*waiting, unable error) error {
	if !errors.Is(context.Cause(ctx), errDrainTime) {
		return ctx.Err()
	}
	if unable != nil {
		return reason.New(reason.NodeNotDrained, fmt.Sprintf("%d pods were left when the API server was last heard of", len(leave)), unable)
	}
	var why []string
	for _, w := range leave {
		if w.ending {
			why = append(why, w.String()+" was told to end and has not")
		} else {
			why = append(why, w.String()+": "+w.blocked)
		}
	}
	return reason.Newf(reason.NodeNotDrained, "%s", some(why))
}
