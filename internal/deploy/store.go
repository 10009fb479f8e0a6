package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// store keeps the newest generation of every document on disk, so that a machine that boots without its gateway still
// knows what it should run.
type store struct {
	dir string // 0700
}

// newer keeps the document if it is newer than the one of the same kind and name, and reports whether it was.
func (s store) newer(document wire.Document) (bool, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return false, fmt.Errorf("cannot make the folder of the documents: %w", err)
	}
	held, err := s.read(s.path(document))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if err == nil && held.Generation >= document.Generation {
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

// all returns the documents in the order of their generations.
func (s store) all() ([]wire.Document, error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the documents: %w", err)
	}
	var documents []wire.Document
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".json" {
			continue
		}
		document, err := s.read(filepath.Join(s.dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	sort.Slice(documents, func(i, j int) bool { return documents[i].Generation < documents[j].Generation })
	return documents, nil
}

func (s store) read(path string) (wire.Document, error) {
	content, err := os.ReadFile(path)
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
