package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newTrust() *cobra.Command {
	trust := manifest.Trust{Format: 1}
	var out, of string
	command := &cobra.Command{
		Use:   "trust PUBLIC-KEY... | --of TRUST",
		Short: "Make the first set of trusted keys of a series, later ones come by rotate; or copy one with a higher floor",
		RunE: func(command *cobra.Command, args []string) error {
			given := command.Flags().Changed
			switch {
			case of == "" && len(args) == 0:
				return reason.Newf(reason.Usage, "%s: want a PUBLIC-KEY, or --of", command.CommandPath())
			case of != "" && (len(args) > 0 || given("name") || given("serial")):
				return reason.Newf(reason.Usage, "--of: keys, name and serial are those of the set")
			case of != "":
				copied, err := readTrust(of)
				if err != nil {
					return err
				}
				copied.Floor = max(copied.Floor, trust.Floor)
				trust = copied
			}
			for _, path := range args {
				key, err := readPublic(path)
				if err != nil {
					return err
				}
				trust.Keys = append(trust.Keys, key)
			}
			if err := trust.Check(); err != nil {
				return err
			}
			data, err := trust.Encode()
			if err != nil {
				return err
			}
			return write(command, out, data)
		},
	}
	command.Flags().StringVar(&trust.Name, "name", "", "of the series; rotations stay in it")
	command.Flags().Int64Var(&trust.Serial, "serial", 1, "of the set in its series")
	command.Flags().Int64Var(&trust.Floor, "floor", 0, "lowest serial of a manifest that is taken")
	command.Flags().StringVar(&of, "of", "", "the set to copy")
	command.Flags().StringVar(&out, "out", "", "file to write (default standard output)")
	return command
}

func readTrust(path string) (manifest.Trust, error) {
	data, err := read(path, nil)
	if err != nil {
		return manifest.Trust{}, fmt.Errorf("cannot read the trust: %w", err)
	}
	return manifest.ParseTrust(data)
}

func newRotate() *cobra.Command {
	var from, out, trustOut string
	var add, drop, keys []string
	var floor int64
	command := &cobra.Command{
		Use:   "rotate",
		Short: "Make the document that leads from a set of trusted keys to the next one",
		Long: `Make the document that leads from a set of trusted keys to the next one. It must be signed by a key of the present set
and by every key that is new. Publish it beside the manifest as trust-N.json, where N is the serial of the new set, and keep
all earlier ones there: a machine that was away follows them one by one.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			if from == "" || out == "" {
				return reason.Newf(reason.Usage, "--trust and --out are needed")
			}
			present, err := readTrust(from)
			if err != nil {
				return err
			}
			next, err := successor(present, add, drop, floor)
			if err != nil {
				return err
			}
			now := time.Now().UTC().Truncate(time.Second)
			e, err := manifest.Seal(manifest.RotationType, manifest.Rotation{Format: 1, Previous: present.Serial, Created: now, Trust: next})
			if err != nil {
				return err
			}
			if e, err = signAll(e, keys); err != nil {
				return err
			}
			data, err := e.Encode()
			if err != nil {
				return err
			}
			// no machine would take another one
			if _, err := (manifest.Verifier{Trust: present, Now: now}).Rotation(data); err != nil {
				return err
			}
			if trustOut != "" {
				text, err := next.Encode()
				if err != nil {
					return err
				}
				if err := write(command, trustOut, text); err != nil {
					return err
				}
			}
			return write(command, out, data)
		},
	}
	flags := command.Flags()
	flags.StringVar(&from, "trust", "", "the present set")
	flags.StringSliceVar(&add, "add", nil, "public keys that come in; one that is there already gets its new time")
	flags.StringSliceVar(&drop, "drop", nil, "ids of keys that go, or their beginnings")
	flags.Int64Var(&floor, "floor", 0, "raise the lowest serial of a manifest that is taken")
	flags.StringSliceVar(&keys, "key", nil, "private keys that sign: one of the present set, and each new one")
	flags.StringVar(&out, "out", "", "file to write the document to")
	flags.StringVar(&trustOut, "trust-out", "", "file to write the new set to, for the next build")
	return command
}

// successor is the set of keys that follows.
func successor(present manifest.Trust, add, drop []string, floor int64) (manifest.Trust, error) {
	next := present
	next.Serial, next.Floor, next.Keys = present.Serial+1, max(present.Floor, floor), slices.Clone(present.Keys)
	for _, id := range drop {
		before := len(next.Keys)
		next.Keys = slices.DeleteFunc(next.Keys, func(k manifest.Key) bool { return strings.HasPrefix(k.ID(), id) })
		if len(id) < 8 || len(next.Keys) != before-1 {
			return next, reason.Newf(reason.Usage, "--drop %s: want 8 or more digits of the id of one key", id)
		}
	}
	for _, path := range add {
		key, err := readPublic(path)
		if err != nil {
			return next, err
		}
		next.Keys = slices.DeleteFunc(next.Keys, func(k manifest.Key) bool { return k.ID() == key.ID() })
		next.Keys = append(next.Keys, key)
	}
	return next, next.Check()
}
