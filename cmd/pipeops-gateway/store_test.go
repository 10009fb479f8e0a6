package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestStoreAddress(t *testing.T) {
	const secret, address = "hunter2", "postgres://gateway:hunter2@db.example/gateway"
	file := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "store")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		path, variable, want string
		ok                   bool
	}{
		"none":           {"", "", "", true},
		"a file":         {file(address+"\n", 0o600), "", address, true},
		"a variable":     {"", address, address, true},
		"the file wins":  {file(address, 0o400), "postgres://other", address, true},
		"open to others": {file(address, 0o640), "", "", false},
		"empty":          {file("\n", 0o600), "", "", false},
		"no such file":   {filepath.Join(t.TempDir(), "none"), "", "", false},
		"no address":     {"", "gateway:" + secret + "@db.example", "", false},
		"no PostgreSQL":  {file("mysql://gateway:"+secret+"@db.example", 0o600), "", "", false},
	} {
		t.Setenv(storeVariable, c.variable)
		got, err := storeAddress(c.path)
		if got != c.want || (err == nil) != c.ok || err != nil && !reason.Is(err, reason.Usage) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
}
