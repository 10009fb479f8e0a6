package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"pipeops-agent": main})
}

// TestScripts runs the scripts in testdata/script. They know $MACHINES, the folder of captured machines, and two things of
// their own: the command "exits CODE PROGRAM ARGS...", and the conditions [root] and [systemd], of the
// machine that they run on.
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
			return false, errors.New("unknown condition " + name)
		},
	})
}
