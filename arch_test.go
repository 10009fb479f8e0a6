// Package arch checks what the project claims about its own architecture: ARCHITECTURE.md and STYLE.md in words, this
// file as tests.
package arch

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pipeopshq/pipeops-agent/"

// rooms is the table of ARCHITECTURE.md: a package may import packages of lower layers only, and leaves other leaves.
// Of its own row a package may import what is named in the test.
func rooms() map[string]int {
	layers := []string{
		0: "engine wire reason version atomicfile mounttable backoff command refusal health console cli artifact/manifest mux cork policy proxy wsconn transport carry audit metric",
		1: "host trial unit openrc supervise remains artifact identity session bootstrap/plan cluster nodes gateway/store auditcli",
		2: "distro baseline tunnel apiproxy reach forward deploy localapi gateway",
		3: "bootstrap agent doctor",
		4: "config",
	}
	table := map[string]int{"systemd": 0}
	for layer, names := range layers {
		for name := range strings.FieldsSeq(names) {
			table["internal/"+name] = layer
		}
	}
	table["internal/gateway/gatewaytest"] = 4  // for tests only
	table["internal/gateway/postgrestest"] = 1 // for tests only
	table["internal/cluster/clustertest"] = 4  // for tests only
	table["internal/proxy/proxytest"] = 4      // for tests only
	table["internal/golden"] = 0               // for tests only
	table["internal/cli/clitest"] = 4          // for tests only
	return table
}

func TestImportsGoOneWay(t *testing.T) {
	table := rooms()
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.dir, "internal/") && p.dir != "systemd" {
			continue
		}
		layer, ok := table[p.dir]
		if !ok {
			t.Errorf("%s is in no layer; give it one here and in ARCHITECTURE.md", p.dir)
			continue
		}
		for _, imported := range p.imports {
			dir, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			below, known := table[dir]
			switch {
			case !known:
				t.Errorf("%s imports %s, which is in no layer", p.dir, dir)
			case dir == "internal/config":
				t.Errorf("%s imports %s; only cmd may", p.dir, dir)
			case below < layer, below == 0 && layer == 0:
			case p.dir == "internal/trial" && dir == "internal/host": // a captured machine holds the results of trials
			case p.dir == "internal/remains" && dir == "internal/unit": // it ends processes in the same way
			case p.dir == "internal/openrc" && dir == "internal/unit": // it speaks of services in the same words
			case p.dir == "internal/supervise" && dir == "internal/unit": // likewise
			default:
				t.Errorf("%s (layer %d) imports %s (layer %d)", p.dir, layer, dir, below)
			}
		}
	}
}

// TestReach checks bans on what a package links, with everything that it imports.
func TestReach(t *testing.T) {
	tests := []struct {
		from   string
		banned []string
		why    string
	}{
		{"internal/agent", []string{module + "internal/bootstrap", module + "internal/distro", module + "internal/command"},
			"what stays running never changes the host itself"},
		{"cmd/pipeops-agent", []string{module + "internal/gateway", "modernc.org/sqlite", "github.com/jackc/pgx/v5"},
			"the agent is not its own gateway"},
		{"cmd/pipeops-agent", []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/discovery"},
			"the typed clientset is 20 MB that the agent does without"},
		{"cmd/pipeops-gateway", []string{module + "internal/bootstrap", module + "internal/distro", module + "internal/host", module + "internal/agent"},
			"the gateway is not an agent"},
	}
	for _, tt := range tests {
		linked := goList(t, "-deps", "./"+tt.from)
		for _, banned := range tt.banned {
			if slices.Contains(linked, banned) {
				t.Errorf("%s links %s: %s", tt.from, banned, tt.why)
			}
		}
	}
}

func TestOneDoorForProcesses(t *testing.T) {
	for _, p := range packages(t) {
		mayExec := p.dir == "internal/command" || p.dir == "test" || strings.HasPrefix(p.dir, "test/")
		if slices.Contains(p.imports, "os/exec") && !mayExec {
			t.Errorf("%s imports os/exec; only internal/command and test/ may", p.dir)
		}
	}
}

func TestPackagesHaveOneCommentAndAProperName(t *testing.T) {
	banned := []string{"util", "utils", "helper", "helpers", "common", "types", "base"}
	for _, p := range packages(t) {
		if p.comments != 1 {
			t.Errorf("%s has %d package comments, want exactly one", p.dir, p.comments)
		}
		if name := filepath.Base(p.dir); slices.Contains(banned, name) {
			t.Errorf("%s: %q says nothing about what is in it", p.dir, name)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 500
	for _, path := range goFiles(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte("\n")); lines > most {
			t.Errorf("%s has %d lines, want at most %d: one unit, one file", path, lines, most)
		}
	}
}

// folder is a package, without its tests.
type folder struct {
	dir      string
	imports  []string
	comments int // how many files have a package comment
}

// packages parses the sources; it needs no compiler, so files for other systems and with build tags count too.
func packages(t *testing.T) []folder {
	t.Helper()
	byDir := map[string]*folder{}
	for _, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file := parse(t, path, parser.ImportsOnly|parser.ParseComments)
		dir := filepath.ToSlash(filepath.Dir(path))
		p := byDir[dir]
		if p == nil {
			p = &folder{dir: dir}
			byDir[dir] = p
		}
		if file.Doc != nil {
			p.comments++
		}
		for _, spec := range file.Imports {
			p.imports = append(p.imports, strings.Trim(spec.Path.Value, `"`))
		}
	}
	var all []folder
	for _, p := range byDir {
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b folder) int { return strings.Compare(a.dir, b.dir) })
	return all
}

func parse(t *testing.T, path string, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// goFiles returns the Go files of the project, other modules inside it included.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || path == "dist" || path == "bin" || d.Name() == "testdata"):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	var lines []string
	scanner := bufio.NewScanner(bytes.NewReader(out))
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	return lines
}
