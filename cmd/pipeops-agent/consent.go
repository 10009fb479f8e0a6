package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	// pollMillis is how soon a signal is noticed while the user thinks.
	pollMillis = 200
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 10
)

// consentNames are the costs that a user may agree to. All others need no consent, or are none of this machine's.
func consentNames() []string { return costNames([]reason.Cost{reason.CostPackage, reason.CostReboot}) }

func costNames(costs []reason.Cost) []string {
	var names []string
	for _, c := range costs {
		names = append(names, string(c))
	}
	return names
}

// parseConsent reads the costs of --consent, of the environment or of the file; nil stays nil.
func parseConsent(names []string) ([]reason.Cost, error) {
	if names == nil {
		return nil, nil
	}
	costs := []reason.Cost{}
	for _, name := range names {
		if !slices.Contains(consentNames(), name) {
			return nil, reason.Newf(reason.Usage, "consent %q: want %s", name, strings.Join(consentNames(), " or "))
		}
		if !slices.Contains(costs, reason.Cost(name)) {
			costs = append(costs, reason.Cost(name))
		}
	}
	return costs, nil
}

// askConsent asks on a terminal. Only y and yes are consent.
func askConsent(ctx context.Context, in *os.File, out io.Writer, needed []distro.Remedy) (bool, error) {
	return ask(ctx, in, out, "This machine needs: "+bootstrap.Needs(needed)+". Go on? [y/N] ")
}

// ask asks a question on a terminal. Only y and yes are a yes.
func ask(ctx context.Context, in *os.File, out io.Writer, question string) (bool, error) {
	if _, err := io.WriteString(out, question); err != nil {
		return false, fmt.Errorf("cannot ask: %w", err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}, pollMillis)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("cannot wait for an answer: %w", err)
		}
		if n > 0 {
			break
		}
	}
	answer, err := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("cannot read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}
