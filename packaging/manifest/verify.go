package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newVerify() *cobra.Command {
	var from, at string
	var rotations []string
	var lowest int64
	command := &cobra.Command{
		Use:   "verify FILE [[PATH=]FOLDER...]",
		Short: "Verify a signed list as a machine does, and the files of it that lie in folders",
		Args:  some("FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			if from == "" {
				return reason.Newf(reason.Usage, "--trust is needed")
			}
			v := manifest.Verifier{Lowest: lowest}
			var err error
			if v.Trust, err = readTrust(from); err != nil {
				return err
			}
			if v.Now, err = moment(at); err != nil {
				return err
			}
			for _, name := range rotations {
				data, err := read(name, nil)
				if err != nil {
					return err
				}
				if v.Trust, err = v.Rotation(data); err != nil {
					return err
				}
			}
			data, err := read(args[0], command.InOrStdin())
			if err != nil {
				return err
			}
			m, err := v.Manifest(data)
			if err != nil {
				return err
			}
			checked := 0
			for _, arg := range args[1:] {
				n, err := compare(m, arg)
				if err != nil {
					return err
				}
				checked += n
			}
			fmt.Fprintf(command.OutOrStdout(), "manifest %d is good until %s: %d files, %d of them compared\n", m.Serial, m.Expires.Format(time.DateOnly), len(m.Files), checked)
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&from, "trust", "", "the trusted keys")
	flags.StringSliceVar(&rotations, "rotation", nil, "documents of rotation to follow first, in order")
	flags.StringVar(&at, "at", "", "the time to verify it at, as 2026-11-26T12:00:00Z (default now)")
	flags.Int64Var(&lowest, "lowest", 0, "lowest serial that is taken")
	return command
}

// compare measures the files of the list that lie in a folder, and returns how many there are.
func compare(m manifest.Manifest, arg string) (int, error) {
	below, folder := source(arg)
	n := 0
	for _, want := range m.Files {
		relative := want.Path
		if below != "" {
			rest, ok := strings.CutPrefix(want.Path, path.Clean(below)+"/")
			if !ok {
				continue
			}
			relative = rest
		}
		got := want
		err := measure(&got, filepath.Join(folder, filepath.FromSlash(relative)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, err
		}
		if got != want {
			return n, reason.Newf(reason.DownloadDigest, "%s has %d bytes and SHA-256 %s, the list says %d and %s", want.Path, got.Bytes, got.SHA256, want.Bytes, want.SHA256)
		}
		n++
	}
	return n, nil
}
