package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
	"github.com/pipeopshq/pipeops-agent/internal/command"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipeops-agent": main, "stand-in-engine": standInEngine})
}

// standInEngine is a stand-in for a Docker engine, at its usual socket, that holds nothing.
func standInEngine() {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", "/run/docker.sock")
	if err != nil {
		panic(err)
	}
	answers := http.NewServeMux()
	answers.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Version": "27.3.1", "ApiVersion": "1.47", "MinAPIVersion": "1.24"}`)
	})
	answers.HandleFunc("/v1.47/containers/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") })
	panic((&http.Server{Handler: answers, ReadHeaderTimeout: time.Minute}).Serve(l))
}

// TestScripts runs the scripts in testdata/script. They know $MACHINES, the folder of captured machines, and two things of
// their own: the command "exits CODE PROGRAM ARGS...", and the conditions [root], [systemd] and [namespaces] (whoever is root may
// make some, and mount in them), of the machine that they run on.
func TestScripts(t *testing.T) {
	machines, err := filepath.Abs("../../internal/host/testdata/machines")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("MACHINES", machines)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": clitest.Exits},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			if name == "systemd" {
				_, err := os.Stat("/run/systemd/system")
				return err == nil, nil
			}
			if name == "namespaces" {
				_, err := command.Run(t.Context(), time.Minute, "unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt")
				return err == nil, nil
			}
			return false, errors.New("unknown condition " + name)
		},
	})
}
