package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// producer names a test that makes the real program end with an exit code, and what the test says of it.
type producer struct {
	exit int
	file string
	test string // name of the test function; "" for a script
	says string // in the function, or the whole line of the script
}

// producers lists, for every documented exit code, which test produces it through a command as users run it.
func producers() []producer {
	const (
		scripts  = "cmd/pipeops-agent/testdata/script/"
		refusals = "test/e2e/refusal_test.go"
		failures = "test/e2e/failures_test.go"
	)
	return []producer{
		{reason.ExitOK, scripts + "plan.txtar", "", "exits 0 pipeops-agent plan --root $MACHINES/debian12-vm"},
		{reason.ExitOK, "test/e2e/install_test.go", "TestFromPackageToPage", "result.Code != 0"},
		{reason.ExitInternal, scripts + "internal.txtar", "", "exits 1 sh -c 'pipeops-agent version >/dev/full'"},
		{reason.ExitUsage, scripts + "usage.txtar", "", "exits 2 pipeops-agent install --no-such-flag"},
		{reason.ExitUsage, refusals, "TestRefusals", `code: "USAGE", exit: 2`},
		{reason.ExitHostRefused, scripts + "plan.txtar", "", "exits 10 pipeops-agent plan --root $MACHINES/vps-512mb"},
		{reason.ExitHostRefused, refusals, "TestRefusals", `code: "NET_PORT_TAKEN", exit: 10`},
		{reason.ExitHostRefused, "test/e2e/adopt_test.go", "TestAdopt", "checkFailure(t, result, code, 10)"},
		{reason.ExitReboot, scripts + "dryrun.txtar", "", "exits 11 pipeops-agent install --dry-run --config none.yaml --root $MACHINES/pi4-bullseye-no-memory-cgroup --cluster shop --consent reboot"},
		{reason.ExitOuterHost, scripts + "plan.txtar", "", "exits 12 pipeops-agent plan --root $MACHINES/lxc-privileged"},
		{reason.ExitOuterHost, "test/e2e/judgement_test.go", "TestJudgement", "result.Code != reason.ExitOuterHost"},
		{reason.ExitWaiver, scripts + "dryrun.txtar", "", "exits 13 pipeops-agent install --dry-run --config none.yaml --root $MACHINES/pi4-bullseye-no-memory-cgroup --cluster shop"},
		{reason.ExitDownload, refusals, "TestRefusals", `code: "DOWNLOAD_DIGEST", exit: 20`},
		{reason.ExitDownload, failures, "TestFailures", `"DOWNLOAD_NO_SPACE", 20)`},
		{reason.ExitSignature, "test/e2e/manifest_test.go", "TestManifestRefusals", `code: "MANIFEST_TAMPERED", exit: 21`},
		{reason.ExitRolledBack, failures, "TestFailures", `"STEP_FAILED", 30)`},
		{reason.ExitNotRolledBack, failures, "TestFailures", `"STEP_NOT_ROLLED_BACK", 31)`},
		{reason.ExitUnhealthy, scripts + "status.txtar", "", "exits 40 pipeops-agent status --socket $WORK/none.sock"},
		{reason.ExitUnhealthy, failures, "TestFailures", "doctor.Code != 40"},
		{reason.ExitTunnel, scripts + "status.txtar", "", "exits 50 pipeops-agent run --state-dir $WORK/state --socket $WORK/agent.sock --config none.yaml"},
		{reason.ExitTunnel, refusals, "TestRefusals", `code: "TOKEN_UNKNOWN", exit: 50`},
		{reason.ExitBusy, scripts + "uninstall.txtar", "", "exits 75 flock state/lock pipeops-agent uninstall --yes --state-dir state"},
		{reason.ExitBusy, failures, "TestBusy", "checkFailure(t, result, notSoon, 75)"},
	}
}

// TestExitCodesHaveProducers fails when a code that a user can meet is produced by no test, when a listed test is gone, or when it no
// longer says what is listed. A code that no entry of the catalogue has cannot be met.
func TestExitCodesHaveProducers(t *testing.T) {
	wanted := map[int]bool{reason.ExitOK: true, reason.ExitInternal: true}
	for _, e := range reason.All() {
		wanted[e.Exit] = true
	}
	produced := map[int]bool{}
	for _, p := range producers() {
		if err := p.check(); err != nil {
			t.Errorf("exit code %d: %v", p.exit, err)
			continue
		}
		produced[p.exit] = true
	}
	for _, code := range slices.Sorted(maps.Keys(wanted)) {
		if !produced[code] {
			t.Errorf("no test produces exit code %d: add one, and its row to producers()", code)
		}
	}
	for code := range produced {
		if !wanted[code] {
			t.Errorf("exit code %d is produced, but no reason has it", code)
		}
	}
	for code, name := range exitConstants(t) {
		if wanted[code] && !documented(t, code) {
			t.Errorf("README.md does not tell of exit code %d (%s)", code, name)
		}
	}
}

func (p producer) check() error {
	content, err := os.ReadFile(p.file)
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`\b` + strconv.Itoa(p.exit) + `\b|reason\.Exit[A-Z]|notSoon`).MatchString(p.says) {
		return fmt.Errorf("%q says nothing of the code", p.says)
	}
	if p.test == "" {
		if !slices.Contains(strings.Split(string(content), "\n"), p.says) {
			return fmt.Errorf("%s has no line %q", p.file, p.says)
		}
		return nil
	}
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, p.file, content, 0) // without comments: what is commented out says nothing
	if err != nil {
		return err
	}
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == p.test {
			if !strings.Contains(source(content, files, f), p.says) {
				return fmt.Errorf("%s in %s does not say %s", p.test, p.file, p.says)
			}
			return nil
		}
	}
	return fmt.Errorf("%s has no %s", p.file, p.test)
}

// source is the text of a function without its comments.
func source(content []byte, files *token.FileSet, f *ast.FuncDecl) string {
	text := string(content[files.Position(f.Pos()).Offset:files.Position(f.End()).Offset])
	return regexp.MustCompile(`(?m)^\s*//.*$`).ReplaceAllString(text, "")
}

// exitConstants reads the constants Exit... of package reason, by value.
func exitConstants(t *testing.T) map[int]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "internal/reason/reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[int]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Exit") || len(spec.Values) != 1 {
			return true
		}
		if value, ok := spec.Values[0].(*ast.BasicLit); ok {
			if code, err := strconv.Atoi(value.Value); err == nil {
				all[code] = spec.Names[0].Name
			}
		}
		return true
	})
	if len(all) < 10 {
		t.Fatalf("found only %v", all)
	}
	return all
}

// documented reports whether the table of the README has the code.
func documented(t *testing.T, code int) bool {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^\|.*\| ` + strconv.Itoa(code) + ` \||^\| ` + strconv.Itoa(code) + ` \|`).Match(readme)
}
