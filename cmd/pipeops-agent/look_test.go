package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLookKnowsTheGateway: it is asked only where asking others is allowed, and settings that are wrong are told elsewhere.
func TestLookKnowsTheGateway(t *testing.T) {
	t.Setenv("PIPEOPS_GATEWAY", "")
	dir := t.TempDir()
	for name, content := range map[string]string{"good": "gateway: gateway.example:443\n", "bad": "gatway: x\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		look   look
		config string
		want   string
	}{
		{look{network: true}, "good", "gateway.example:443"},
		{look{network: true}, "bad", ""},
		{look{network: true}, "missing", ""},
		{look{}, "good", ""},
		{look{network: true, root: dir}, "good", ""},
	} {
		system, err := c.look.open(&globals{config: filepath.Join(dir, c.config)})
		if err != nil {
			t.Fatal(err)
		}
		if system.Gateway != c.want || system.Network != (c.look.network && c.look.root == "") {
			t.Errorf("%+v with %s: gateway %q, network %v", c.look, c.config, system.Gateway, system.Network)
		}
	}
}
