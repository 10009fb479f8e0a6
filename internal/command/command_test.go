package command

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestOutput(t *testing.T) {
	out, err := Run(t.Context(), time.Minute, "sh", "-c", "echo $LC_ALL; echo noise >&2; cat")
	if err != nil || string(out) != "C\n" {
		t.Errorf("out = %q, %v", out, err)
	}
}

func TestFailureTellsExitAndLastWords(t *testing.T) {
	_, err := Run(t.Context(), time.Minute, "sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x >&2; echo no such unit >&2; exit 5")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("err = %v", err)
	}
	if e.Exit != 5 || !strings.HasSuffix(e.Stderr, "no such unit") || len(e.Stderr) > maxTail {
		t.Errorf("exit %d, stderr %d bytes: %.40q", e.Exit, len(e.Stderr), e.Stderr)
	}
	if !strings.Contains(err.Error(), "cannot run sh -c") {
		t.Errorf("err = %v", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	out, err := Run(t.Context(), time.Minute, "head", "-c", "3000000", "/dev/zero")
	if err != nil || len(out) != maxOutput {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestTimeLimitKills(t *testing.T) {
	start := time.Now()
	_, err := Run(t.Context(), 50*time.Millisecond, "sleep", "60")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestMissingProgramAndMissingLimit(t *testing.T) {
	for _, limit := range []time.Duration{time.Second, 0} {
		_, err := Run(t.Context(), limit, "/nonexistent/program")
		var e *Error
		if !errors.As(err, &e) || e.Exit != -1 {
			t.Errorf("limit %v: err = %v", limit, err)
		}
	}
}

// TestLastWordsWithoutColours: k3d and others colour what they say although nobody watches; some of it may be cut in the middle.
func TestLastWordsWithoutColours(t *testing.T) {
	const said = `printf '\033[31mFATA\033[0m[0003] Failed to \033]0;title\007create: \033[1;38;5;9mno\033[m node\033[' >&2; exit 1`
	_, err := Run(t.Context(), 5*time.Second, "sh", "-c", said)
	var e *Error
	if !errors.As(err, &e) || e.Stderr != "FATA[0003] Failed to create: no node" {
		t.Errorf("%v", err)
	}
	if _, err = Run(t.Context(), 5*time.Second, "sh", "-c", `printf '[31mcut%01023d\033[0m' 0 >&2; exit 1`); !errors.As(err, &e) || strings.ContainsRune(e.Stderr, 0x1b) {
		t.Errorf("%v", err)
	}
}
