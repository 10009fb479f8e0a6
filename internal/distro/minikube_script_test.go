package distro

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pipeopshq/pipeops-agent/internal/artifact/manifest"
	"github.com/pipeopshq/pipeops-agent/internal/cli/clitest"
	"github.com/pipeopshq/pipeops-agent/internal/command"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"minikube": standInMinikubeProgram, "runuser": standInRunuser, "useradd": standInUseradd, "userdel": standInUserdel,
		"id": standInID, "getent": standInGetent, "install": standInInstall,
	})
}

// TestMinikubeScripts runs the scripts in testdata/script: the real steps call a stand-in for minikube that is an executable, as the
// real one is, and keeps to its documented contract. The install itself needs root, so its steps are driven here: "steps [force]" runs
// them, "refused CODE [force]" wants them to fail, "boot" is a power cut and the start after it, "undo" is the uninstall, "engine" is
// to hold what follows. Stand-ins are also the engine, and what makes users.
func TestMinikubeScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			b := newNodesBench(t, minikubeNodes(), nil)
			minikube := filepath.Join(filepath.SplitList(env.Getenv("PATH"))[0], "minikube")
			if _, err := os.Stat(minikube); err != nil {
				return err
			}
			b.list.Files = []manifest.File{
				b.file(Minikube, MinikubeVersion, "binary", "#!/bin/sh\nexec "+minikube+` "$@"`+"\n"),
				b.file(Minikube, minikubeBaseTag, "node-image", minikubeBase+":"+minikubeBaseTag),
			}
			b.publish()
			b.write("/var/lib/dpkg/status", "")
			b.writeUserPrograms()
			if err := os.MkdirAll(b.in.path("/var/lib"), 0o755); err != nil {
				return err
			}
			users := filepath.Join(env.WorkDir, "users")
			env.Setenv("STAND_IN_USERS", users)
			env.Setenv("DOCKER_HOST", "unix://"+b.engine.socket)
			env.Setenv("ROOT", b.in.Root)
			env.Setenv("IMAGE", minikubeBase+":"+minikubeBaseTag)
			before := []string{"/usr/bin/env", "PATH=" + env.Getenv("PATH"), "STAND_IN_USERS=" + users}
			b.in.Run = func(ctx context.Context, limit time.Duration, argv ...string) ([]byte, error) {
				return command.Run(ctx, limit, append(slices.Clone(before), argv...)...)
			}
			env.Values[benchKey{}] = &scriptWorld{nodesBench: b, before: b.tree()}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   clitest.Exits,
			"steps":   scriptSteps,
			"refused": scriptRefused,
			"boot":    scriptBoot,
			"undo":    scriptUndo,
			"engine":  scriptEngine,
			"rename":  scriptRename,
			"image":   scriptImage,
		},
	})
}

type benchKey struct{}

// scriptWorld is the bench of a script, and how its machine was.
type scriptWorld struct {
	*nodesBench
	before string
}

func scriptBench(ts *testscript.TestScript) *scriptWorld { return ts.Value(benchKey{}).(*scriptWorld) }

func scriptSteps(ts *testscript.TestScript, _ bool, args []string) {
	b := scriptBench(ts)
	b.in.MinikubeForce = slices.Contains(args, "force")
	changed, err := b.install()
	ts.Check(err)
	_, err = fmt.Fprintln(ts.Stdout(), "changed "+strings.Join(changed, " "))
	ts.Check(err)
}

func scriptRefused(ts *testscript.TestScript, _ bool, args []string) {
	b := scriptBench(ts)
	_, err := b.install()
	if !reason.Is(err, reason.Code(args[0])) {
		ts.Fatalf("%v, want %s", err, args[0])
	}
	_, err = fmt.Fprintln(ts.Stdout(), err)
	ts.Check(err)
}

func scriptBoot(ts *testscript.TestScript, _ bool, _ []string) {
	b := scriptBench(ts)
	b.engine.cut()
	ts.Check(StartCluster(context.Background(), b.in, Minikube, func(string) {}))
}

func scriptUndo(ts *testscript.TestScript, _ bool, _ []string) {
	b := scriptBench(ts)
	b.uninstalled(b.before)
}

// scriptImage puts an image into the engine.
func scriptImage(ts *testscript.TestScript, _ bool, args []string) {
	e := scriptBench(ts).engine
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[args[0]] = true
}

// scriptRename gives a container another name, and leaves its labels.
func scriptRename(ts *testscript.TestScript, _ bool, args []string) {
	e := scriptBench(ts).engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.containers {
		if n.name == args[0] {
			n.name = args[1]
		}
	}
}

// scriptEngine compares what is in the engine with the arguments.
func scriptEngine(ts *testscript.TestScript, _ bool, want []string) {
	e := scriptBench(ts).engine
	e.mu.Lock()
	defer e.mu.Unlock()
	var have []string
	for _, n := range e.containers {
		have = append(have, n.name+":"+n.state())
	}
	for name := range e.networks {
		have = append(have, "network:"+name)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		ts.Fatalf("the engine holds %q, want %q", have, want)
	}
}
