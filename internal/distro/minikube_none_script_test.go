package distro

import (
	"context"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
)

// TestMinikubeNoneScripts runs the scripts in testdata/script_none as TestMinikubeScripts runs its own; the machine has what the driver
// none needs. "program NAME" puts one where root finds it, and "remember" takes the machine as it is for how it was.
func TestMinikubeNoneScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script_none",
		Setup: func(env *testscript.Env) error {
			b := newNoneBench(t)
			env.Setenv("STAND_IN_ROOT", b.in.Root)
			env.Setenv("STAND_IN_KUBELET", b.kubelet)
			env.Setenv("DOCKER_HOST", "unix://"+b.engine.socket)
			env.Setenv("ROOT", b.in.Root)
			env.Values[benchKey{}] = &scriptWorld{nodesBench: b.nodesBench, before: b.tree()}
			env.Values[noneKey{}] = b
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   clitest.Exits,
			"steps":   scriptSteps,
			"refused": scriptRefused,
			"undo":    scriptUndo,
			"engine":  scriptEngine,
			"boot": func(ts *testscript.TestScript, _ bool, _ []string) {
				b := ts.Value(noneKey{}).(*noneBench)
				b.cut()
				ts.Check(StartCluster(context.Background(), b.in, MadeCluster(b.in), func(string) {}))
			},
			"program": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Value(noneKey{}).(*noneBench).program(args[0])
			},
			"remember": func(ts *testscript.TestScript, _ bool, _ []string) {
				b := scriptBench(ts)
				b.before = b.tree()
			},
		},
	})
}

type noneKey struct{}
