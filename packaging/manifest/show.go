package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
)

func newShow(o *cli.Output) *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Show what a list, a rotation or a trust says, without verifying it; - is standard input",
		Args:  cli.Arguments("FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			data, err := read(args[0], command.InOrStdin())
			if err != nil {
				return err
			}
			if trust, err := manifest.ParseTrust(data); err == nil {
				return o.Print(command.OutOrStdout(), trust, func(w io.Writer) error { return showTrust(w, trust) })
			}
			e, err := manifest.ParseEnvelope(data)
			if err != nil { // not signed yet
				m, err := manifest.Parse(data)
				if err != nil {
					return err
				}
				return o.Print(command.OutOrStdout(), m, func(w io.Writer) error { return showManifest(w, m) })
			}
			payload, err := e.Bytes()
			if err != nil {
				return err
			}
			return o.Print(command.OutOrStdout(), json.RawMessage(payload), func(w io.Writer) error { return showEnvelope(w, e, payload) })
		},
	}
}

func showEnvelope(w io.Writer, e manifest.Envelope, payload []byte) error {
	for _, s := range e.Signatures {
		fmt.Fprintf(w, "signed by %s (not verified)\n", s.KeyID)
	}
	if e.PayloadType == manifest.RotationType {
		r, err := manifest.ParseRotation(payload)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "rotation from trust %d, made %s\n", r.Previous, r.Created.Format(time.DateOnly))
		return showTrust(w, r.Trust)
	}
	m, err := manifest.Parse(payload)
	if err != nil {
		return err
	}
	return showManifest(w, m)
}

func showManifest(w io.Writer, m manifest.Manifest) error {
	fmt.Fprintf(w, "manifest %d, made %s, valid until %s\n", m.Serial, m.Created.Format(time.DateOnly), m.Expires.Format(time.DateOnly))
	if m.Minimum.Agent != "" {
		fmt.Fprintf(w, "for pipeops-agent %s or newer\n", m.Minimum.Agent)
	}
	for _, f := range m.Files {
		arch := f.Arch
		if arch == "" {
			arch = "any"
		}
		fmt.Fprintf(w, "%s %s %s %s: %d bytes, %s\n  %s\n", f.Product, f.Version, arch, f.Name, f.Bytes, f.SHA256, f.URL(""))
	}
	return nil
}

func showTrust(w io.Writer, t manifest.Trust) error {
	fmt.Fprintf(w, "trust %d of %s, manifests from %d on\n", t.Serial, t.Name, t.Floor)
	for _, k := range t.Keys {
		kind := "key"
		if k.Development {
			kind = "development key"
		}
		fmt.Fprintf(w, "%s %s from %s until %s\n", kind, k.ID(), k.NotBefore.Format(time.DateOnly), k.NotAfter.Format(time.DateOnly))
	}
	return nil
}
