package main

import (
	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

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
