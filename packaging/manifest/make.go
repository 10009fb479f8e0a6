package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// described is a file of a description: what the folder does not tell.
type described struct {
	manifest.File
	From string `json:"file,omitempty"` // beside the description; default: its path
}

// description is a small file, YAML or JSON, that lists what make cannot recognise by its path.
type description struct {
	Files []described `json:"files"`
}

func newMake() *cobra.Command {
	var out, describe, created string
	var serial int64
	var days int
	var minimum manifest.Minimum
	command := &cobra.Command{
		Use:   "make [PATH=]FOLDER...",
		Short: "Make the list of the files in folders, with their sizes and digests; sign signs it",
		Long: `Make the list of the files in folders, with their sizes and digests. A FOLDER is laid out as the origins are
(k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s); PATH=FOLDER puts the files of FOLDER below PATH. What is no file of a product
that is known by its path is left out and named, unless --description, YAML or JSON, says what it is:

  files:
  - {product: kind, version: v0.30.0, arch: amd64, name: binary, origin: "https://github.com", path: own/kind-v0.30.0, file: ./kind}`,
		RunE: func(command *cobra.Command, args []string) error {
			at, err := moment(created)
			if err != nil {
				return err
			}
			if err := checkDays(days); err != nil {
				return err
			}
			m := manifest.Manifest{Format: 1, Serial: serial, Created: at, Expires: at.Add(time.Duration(days) * aDay), Minimum: minimum, Files: []manifest.File{}}
			if m.Serial == 0 {
				m.Serial = at.Unix()
			}
			if describe != "" {
				if m.Files, err = fromDescription(describe); err != nil {
					return err
				}
			}
			for _, arg := range args {
				below, folder := source(arg)
				if m.Files, err = fromFolder(m.Files, below, folder, command.ErrOrStderr()); err != nil {
					return err
				}
			}
			if err := m.Check(); err != nil {
				return err
			}
			data, err := indent(m)
			if err != nil {
				return err
			}
			return write(command, out, data)
		},
	}
	flags := command.Flags()
	flags.StringVar(&out, "out", "", "file to write (default standard output)")
	flags.StringVar(&describe, "description", "", "file that lists what cannot be recognised by its path")
	flags.Int64Var(&serial, "serial", 0, "number of the list, higher than that of every one before (default seconds since 1970)")
	flags.IntVar(&days, "days", 400, "how long the list is valid")
	flags.StringVar(&created, "created", "", "from when on, as 2026-11-26T12:00:00Z (default now)")
	flags.Int64Var(&minimum.Serial, "minimum-serial", 0, "lists below this number are valid no longer")
	flags.StringVar(&minimum.Agent, "minimum-agent", "", "lowest version of pipeops-agent that may use the list")
	return command
}

// source splits [PATH=]FOLDER.
func source(arg string) (below, folder string) {
	if below, folder, ok := strings.Cut(arg, "="); ok {
		return below, folder
	}
	return "", arg
}

// fromFolder adds the files of a folder that are known by their path and not listed yet.
func fromFolder(files []manifest.File, below, folder string, notes io.Writer) ([]manifest.File, error) {
	listed := map[string]bool{}
	for _, f := range files {
		listed[f.Path] = true
	}
	folder, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		relative, err := filepath.Rel(folder, name)
		if err != nil {
			return err
		}
		place := path.Join(below, filepath.ToSlash(relative))
		f, known := recognise(place)
		switch {
		case listed[place]:
			return nil
		case !known:
			fmt.Fprintf(notes, "manifest: left out: %s\n", place)
			return nil
		}
		if err := measure(&f, name); err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", folder, err)
	}
	return files, nil
}

func fromDescription(file string) ([]manifest.File, error) {
	data, err := read(file, nil)
	if err != nil {
		return nil, err
	}
	var d description
	if err := yaml.UnmarshalStrict(data, &d); err != nil {
		return nil, fmt.Errorf("cannot read the description %s: %w", file, err)
	}
	var files []manifest.File
	for _, entry := range d.Files {
		from := entry.From
		if from == "" {
			from = entry.Path
		}
		if !filepath.IsAbs(from) {
			from = filepath.Join(filepath.Dir(file), from)
		}
		f, want := entry.File, entry.File
		if err := measure(&f, from); err != nil {
			return nil, err
		}
		if want.Bytes != 0 && want.Bytes != f.Bytes || want.SHA256 != "" && want.SHA256 != f.SHA256 {
			return nil, reason.Newf(reason.DownloadDigest, "%s has %d bytes and SHA-256 %s, the description says otherwise", from, f.Bytes, f.SHA256)
		}
		files = append(files, f)
	}
	return files, nil
}

// measure fills in size and digest.
func measure(f *manifest.File, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is no regular file", name))
	}
	hash := sha256.New()
	if f.Bytes, err = io.Copy(hash, file); err != nil {
		return fmt.Errorf("cannot read %s: %w", name, err)
	}
	f.SHA256 = hex.EncodeToString(hash.Sum(nil))
	return nil
}
