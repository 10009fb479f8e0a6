package arch

import (
	"go/ast"
	"go/parser"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityPage checks that each promise of docs/security.md names what proves it, and that all of that is there.
func TestSecurityPage(t *testing.T) {
	there := map[string]bool{}
	for _, path := range goFiles(t) {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, d := range parse(t, path, parser.SkipObjectResolution).Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				there[f.Name.Name] = true
			}
		}
	}
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")
	for _, m := range named.FindAllSubmatch(page, -1) {
		if !there[string(m[1])] {
			t.Errorf("docs/security.md names %s, which there is not", m[1])
		}
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.Contains(line, "---") || strings.Contains(cells[0], "threat") {
			continue
		}
		if rows++; !named.MatchString(cells[2]) {
			t.Errorf("nothing is named that proves %q", strings.TrimSpace(cells[1]))
		}
	}
	if rows < 15 {
		t.Errorf("%d rows of the table are read", rows)
	}
}
