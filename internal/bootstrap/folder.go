package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// maxFolder bounds what is read of a state folder: ours has some twenty entries.
const maxFolder = 1000

// folderNames are what a state folder of ours has in it, one of them at least, from the first moment to the last.
func folderNames() []string {
	return []string{
		"lock", "blobs", "journal.jsonl", "ledger.jsonl", UnfinishedFile, uninstallFile, firstFile, settingsFile, health.RecordFile,
		"identity", "manifest", "artifacts", "desired",
	}
}

// ownFolder refuses a folder that is there, has something in it and nothing of ours: an uninstall deletes the state folder.
func ownFolder(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	if err == nil {
		names, err = f.Readdirnames(maxFolder)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot look into the state folder: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "lost+found" })
	if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(folderNames(), name) }) {
		return nil
	}
	return reason.Newf(reason.Usage, "%s is no state folder of pipeops-agent: %s is in it, and nothing of ours", dir, slices.Min(names)).
		WithFix("give --state-dir a folder that is empty or not there, or the one of the install")
}
