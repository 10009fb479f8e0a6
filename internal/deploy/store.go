package deploy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// maxKept bounds a document on disk, in bytes: it came as one line of at most wire.MaxDocument, and may be escaped otherwise.
const maxKept = 8 * wire.MaxDocument

// store keeps the newest generation of every document on disk, so that a machine that boots without its gateway still
// knows what it should run.
type store struct {
	dir string // 0700
}

// kept is a document on disk. Of one that is damaged only kind and name are known.
type kept struct {
	wire.Document
	damaged error
}

func (s store) makeDir() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the documents: %w", err)
	}
	return nil
}

// drop removes the document of the same kind and name.
func (s store) drop(document wire.Document) error {
	if err := os.Remove(s.path(document)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot forget the document: %w", err)
	}
	return nil
}

// newer keeps the document if it is newer than the one of the same kind and name, and reports whether it was. It takes the
// place of one that is damaged.
func (s store) newer(document wire.Document) (bool, error) {
	if err := s.makeDir(); err != nil {
		return false, err
	}
	if held, err := s.read(s.path(document)); err == nil && held.Generation >= document.Generation {
		return false, nil
	}
	content, err := json.Marshal(document)
	if err != nil {
		return false, fmt.Errorf("cannot encode the document: %w", err)
	}
	if err := atomicfile.Write(s.path(document), 0o600, content); err != nil {
		return false, fmt.Errorf("cannot keep the document: %w", err)
	}
	return true, nil
}

// all returns the documents in the order of their generations. Those that are damaged come first.
func (s store) all() ([]kept, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the documents: %w", err)
	}
	var documents []kept
	for _, entry := range entries {
		base, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok {
			continue
		}
		document, err := s.read(filepath.Join(s.dir, entry.Name()))
		if err != nil {
			document = wire.Document{}
			document.Kind, document.Name, _ = strings.Cut(base, "-")
		}
		documents = append(documents, kept{document, err})
	}
	slices.SortStableFunc(documents, func(a, b kept) int { return cmp.Compare(a.Generation, b.Generation) })
	return documents, nil
}

func (s store) read(path string) (wire.Document, error) {
	content, err := atomicfile.Read(path, maxKept)
	if err != nil {
		return wire.Document{}, fmt.Errorf("cannot read the document: %w", err)
	}
	var document wire.Document
	if err := json.Unmarshal(content, &document); err != nil {
		return wire.Document{}, fmt.Errorf("cannot read the document %s: %w", path, err)
	}
	return document, nil
}

// path is safe: kind and name have been checked to be plain names.
func (s store) path(d wire.Document) string {
	return filepath.Join(s.dir, d.Kind+"-"+d.Name+".json")
}
