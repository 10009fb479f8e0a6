package main

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/identity"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipeops-gateway": main})
}

// TestScripts runs the scripts in testdata/script. They know $ADDRESS, where a gateway may listen, and three commands of their own: "serving DIR" waits until a
// gateway answers on its socket, "enroll DIR ADDRESSFILE TOKENFILE NAME" enrols a cluster, and "exits CODE PROGRAM
// ARGS..." runs a program that must exit so.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			address, err := freeAddress()
			env.Setenv("ADDRESS", address)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serving": serving, "exits": clitest.Exits, "enroll": enroll,
		},
	})
}

// freeAddress returns an address of loopback on which nobody listens now.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func serving(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serving DIR")
	}
	socket := gateway.AdminSocket(ts.MkAbs(args[0]))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return
		}
	}
	ts.Fatalf("no gateway on %s", socket)
}

func enroll(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: enroll URL TOKENFILE NAME")
	}
	token, err := wire.ParseToken(ts.ReadFile(args[1]))
	ts.Check(err)
	_, err = identity.Enroll(context.Background(), identity.Options{Dir: filepath.Join(ts.MkAbs("."), "id-"+args[2]), Gateway: args[0], Token: token, Cluster: args[2]})
	ts.Check(err)
}
