package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

// isList refuses every other document: a rotation that somebody hands out under the name of a list would give the keys away.
func isList(e manifest.Envelope) error {
	if e.PayloadType != manifest.ManifestType {
		return fmt.Errorf("it is no list but %q; a rotation is signed where rotate makes it", e.PayloadType)
	}
	payload, err := e.Bytes()
	if err == nil {
		_, err = manifest.Parse(payload)
	}
	return err
}

func newSign() *cobra.Command {
	var out string
	var keys []string
	command := &cobra.Command{
		Use:   "sign FILE",
		Short: "Sign a list that make has made, or add signatures to one that is signed; - is standard input",
		Args:  cli.Arguments("FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			data, err := read(args[0], command.InOrStdin())
			if err != nil {
				return err
			}
			e, err := manifest.ParseEnvelope(data)
			if err != nil { // not signed yet
				m, err := manifest.Parse(data)
				if err != nil {
					return err
				}
				if e, err = manifest.Seal(manifest.ManifestType, m); err != nil {
					return err
				}
			}
			if err := isList(e); err != nil {
				return fmt.Errorf("cannot sign %s: %w", args[0], err)
			}
			if e, err = signAll(e, keys); err != nil {
				return err
			}
			text, err := e.Encode()
			if err != nil {
				return err
			}
			return write(command, out, text)
		},
	}
	command.Flags().StringSliceVar(&keys, "key", nil, "private keys that sign")
	command.Flags().StringVar(&out, "out", "", "file to write (default standard output)")
	return command
}
