package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// kernelCmdline appends words to the one line of a file that the boot loader reads. The ledger keeps the file as it was.
func (k *k3sInstall) kernelCmdline(r Remedy) (plan.Step, error) {
	if len(r.Values) < 2 || !strings.HasPrefix(r.Values[0], "/") || filepath.Clean(r.Values[0]) != r.Values[0] {
		return plan.Step{}, r.invalid(strings.Join(r.Values, " "))
	}
	file, words := r.Values[0], r.Values[1:]
	word := regexp.MustCompile(`^[A-Za-z0-9_.-]+(=[A-Za-z0-9_.,:/-]*)?$`) // nothing that a boot loader would read as more than a word
	for _, w := range words {
		if !word.MatchString(w) {
			return plan.Step{}, r.invalid(w)
		}
	}
	k.cmdline = words
	return plan.Step{
		ID: "kernel-cmdline", Title: "Add words to the kernel's command line",
		Changes: []string{file + ": " + strings.Join(words, " ")},
		Done: func(context.Context) (bool, error) {
			text, err := os.ReadFile(k.path(file))
			if err != nil {
				return false, err
			}
			after, err := appendWords(string(text), words)
			return after == string(text), err
		},
		Do: func(_ context.Context, rec *plan.Recorder) error {
			text, err := os.ReadFile(k.path(file))
			if err != nil {
				return err
			}
			st, err := os.Stat(k.path(file))
			if err != nil {
				return err
			}
			after, err := appendWords(string(text), words)
			if err != nil {
				return err
			}
			return rec.WriteFile(file, st.Mode().Perm(), []byte(after))
		},
	}, nil
}

// appendWords appends those words to the line that it has not. A second line would not be read, so it is refused.
func appendWords(text string, words []string) (string, error) {
	line := strings.TrimRight(text, " \t\r\n")
	if strings.TrimSpace(line) == "" || strings.ContainsAny(line, "\r\n\x00") {
		return text, errors.New("cannot add to the kernel's command line: the file is not one line")
	}
	present, add := strings.Fields(line), ""
	for _, w := range words {
		if !slices.Contains(present, w) {
			add += " " + w
		}
	}
	if add == "" {
		return text, nil
	}
	ending := ""
	if strings.HasSuffix(text, "\n") {
		ending = "\n"
	}
	return line + add + ending, nil
}

// reboot stops the install where the machine must be booted before it makes sense to go on.
func (k *k3sInstall) reboot() plan.Step {
	return plan.Step{
		ID: "reboot", Title: "Wait for the reboot that the changes need",
		Changes: []string{"none by itself: reboot when it says so; the install goes on after it"},
		Done: func(context.Context) (bool, error) {
			why, err := k.rebootWanted()
			return why == "", err
		},
		Prove: func(context.Context) error {
			why, err := k.rebootWanted()
			if err != nil || why == "" {
				return err
			}
			return plan.Wait(plan.WaitingReboot, reason.Newf(reason.RebootNeeded, "%s", why))
		},
	}
}

// rebootWanted says what has not taken effect yet, "" if all has.
func (k *k3sInstall) rebootWanted() (string, error) {
	if len(k.cmdline) > 0 {
		text, err := os.ReadFile(k.path("/proc/cmdline"))
		if err != nil {
			return "", err
		}
		running := strings.Fields(string(text))
		for _, w := range k.cmdline {
			if !slices.Contains(running, w) {
				return fmt.Sprintf("the running kernel was started without %s", w), nil
			}
		}
	}
	if len(k.packageNames) > 0 {
		pending, err := k.packagesPending()
		if err != nil {
			return "", err
		}
		if pending {
			return fmt.Sprintf("the packages %s are there from the next boot on", strings.Join(k.packageNames, ", ")), nil
		}
	}
	return "", nil
}

// bootID tells one boot from the next.
func (k *k3sInstall) bootID() (string, error) {
	text, err := os.ReadFile(k.path("/proc/sys/kernel/random/boot_id"))
	return strings.TrimSpace(string(text)), err
}

// pendingFile says in which boot packages were put into a snapshot, and which.
func (k *k3sInstall) pendingFile() string { return filepath.Join(k.Dir, "packages.pending") }

// packagesPending reports whether the packages were put into the snapshot of the next boot, in this one.
func (k *k3sInstall) packagesPending() (bool, error) {
	id, err := k.bootID()
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(k.pendingFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(text) == id+"\n"+strings.Join(k.packageNames, "\n")+"\n", err
}
