package trial

import (
	"context"
	"fmt"
	"os"
	"strings"
)

const oomFile = "/proc/self/oom_score_adj"

// lowScore is what the kubelet gives itself and the containers of critical pods, within one.
const lowScore = "-998"

// oomScoreAdj lowers our own oom_score_adj, which takes CAP_SYS_RESOURCE, and puts it back. Many containers and CI
// machines lack that capability; runc then fails every pod unless containerd is told not to try.
func oomScoreAdj() Trial {
	return Trial{Name: OOMScoreAdj, Title: "lower an oom_score_adj", Run: func(context.Context, Env) (Result, error) {
		before, err := os.ReadFile(oomFile)
		if err != nil {
			return Result{}, fmt.Errorf("%w: cannot read %s: %w", errNotTried, oomFile, err)
		}
		tried := os.WriteFile(oomFile, []byte(lowScore), 0)
		if err := os.WriteFile(oomFile, before, 0); err != nil {
			return Result{}, fmt.Errorf("%w: cannot write %s: %w", errNotUndone, oomFile, err)
		}
		after, err := os.ReadFile(oomFile)
		if err != nil || string(after) != string(before) {
			return Result{}, fmt.Errorf("%w: %s was %s", errNotUndone, oomFile, strings.TrimSpace(string(before)))
		}
		if tried != nil {
			return Result{}, fmt.Errorf("cannot set oom_score_adj to %s: %w", lowScore, tried)
		}
		return Result{}, nil
	}}
}
