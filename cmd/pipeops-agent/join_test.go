package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/config"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestKeptJoin: what a join leaves for those who go on with it comes back as it was, and nothing else is guessed at.
func TestKeptJoin(t *testing.T) {
	before := keptJoin{Config: config.Config{Gateway: "gw:8443", Mirror: "http://mirror", Consent: []string{"package"}}, Node: node{Role: "server", Name: "s2"}, File: config.Path, Socket: config.Socket}
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	after, err := parseKeptJoin(text)
	if err != nil || after.Node != before.Node || after.Config.Gateway != "gw:8443" || after.Config.Mirror != "http://mirror" {
		t.Errorf("%v: %+v", err, after)
	}
	for _, change := range [][2]string{{"gw:8443", ""}, {`"server"`, `"owner"`}, {`"s2"`, `"Not_A_Name"`}, {`"file"`, `"other"`}, {"{", "["}} {
		if _, err := parseKeptJoin([]byte(strings.Replace(string(text), change[0], change[1], 1))); err == nil {
			t.Errorf("%s for %s is taken", change[1], change[0])
		}
	}
}

// TestNodeToken: the token for a cluster is not taken for that of a node, and no error tells any of it.
func TestNodeToken(t *testing.T) {
	secret := "pat_0123456789abcdef.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA." + strings.Repeat("ab", 32)
	nobody := func(string) string { return "" }
	_, err := readNodeToken("-", strings.NewReader(secret), nobody)
	if !reason.Is(err, reason.TokenMalformed) || strings.Contains(err.Error(), "AAAA") {
		t.Errorf("a token for a cluster: %v", err)
	}
	if _, err := readNodeToken("-", strings.NewReader("pjt_"+strings.TrimPrefix(secret, "pat_")+"\n"), nobody); err != nil {
		t.Error(err)
	}
	if _, err := readNodeToken("", nil, nobody); !reason.Is(err, reason.Usage) {
		t.Errorf("none: %v", err)
	}
}
