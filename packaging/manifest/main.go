// Command manifest makes and signs what pipeops-agent trusts: keys, the list of every file that may be installed, and the
// rotation from one set of keys to the next. It runs where releases are made, never on a machine that is installed.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func main() {
	o := &cli.Output{}
	cli.Main(newRoot(o), o)
}

func newRoot(o *cli.Output) *cobra.Command {
	root := cli.Root("manifest", "Make and sign the list of what pipeops-agent may install",
		`manifest makes keys, makes a signed list of the files of releases, and exchanges keys.

  manifest keygen release.key                              a key; release.key.pub is its public half
  manifest trust --name pipeops release.key.pub >trust.json  the first set of trusted keys
  manifest make mirror/ >list.json                         the list of a folder laid out as the origins are
  manifest sign --key release.key --out manifest.json list.json
  manifest rotate --trust trust.json --add next.key.pub --drop ID --key release.key --key next.key \
    --out trust-2.json --trust-out trust.new.json          a document that leads to another set of keys
  manifest verify --trust trust.json manifest.json mirror/
  manifest show manifest.json                              what a document says, unverified`, o)
	root.AddCommand(newKeygen(), newTrust(), newMake(), newSign(), newRotate(), newVerify(), newShow(o))
	return root
}

// some checks that a command got one argument of that name at least.
func some(name string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return reason.Newf(reason.Usage, "%s: want a %s", command.CommandPath(), name)
		}
		return nil
	}
}

// read reads a document, which is never long; - is standard input.
func read(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		stdin = file
	}
	data, err := io.ReadAll(io.LimitReader(stdin, manifest.MaxEnvelope+1))
	if err == nil && len(data) > manifest.MaxEnvelope {
		err = fmt.Errorf("%s has more than %d bytes", path, manifest.MaxEnvelope)
	}
	return data, err
}

// write writes a document to a file, or to standard output if path is "".
func write(command *cobra.Command, path string, data []byte) error {
	if path != "" {
		return atomicfile.Write(path, 0o644, data)
	}
	_, err := command.OutOrStdout().Write(data)
	return err
}

func indent(document any) ([]byte, error) {
	data, err := json.MarshalIndent(document, "", "  ")
	return append(data, '\n'), err
}

// decode reads JSON that was written by hand or by this program: no field is unknown.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}
