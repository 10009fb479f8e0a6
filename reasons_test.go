package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestEveryReasonIsInTheCatalogue checks that a code which is declared or written out anywhere has its entry, and only one.
func TestEveryReasonIsInTheCatalogue(t *testing.T) {
	entries := map[string]int{}
	for _, e := range reason.All() {
		entries[string(e.Code)]++
		if e.Title == "" || e.Fix == "" || e.Where == "" || e.Cost == "" {
			t.Errorf("%s: an entry needs title, fix, where and cost", e.Code)
		}
	}
	for code, n := range entries {
		if n != 1 {
			t.Errorf("%s has %d entries", code, n)
		}
	}
	for _, path := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, code := range codes(parse(t, path, parser.SkipObjectResolution)) {
			if entries[code] == 0 {
				t.Errorf("%s: %s is not in the catalogue", path, code)
			}
		}
	}
}

// codes returns the reason codes that a file writes out: constants of type Code and conversions of literals to it.
func codes(file *ast.File) []string {
	var found []string
	literal := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok {
			found = append(found, strings.Trim(lit.Value, "`\""))
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if isCode(n.Type, file.Name.Name) {
				for _, value := range n.Values {
					literal(value)
				}
			}
		case *ast.CallExpr:
			if isCode(n.Fun, file.Name.Name) && len(n.Args) == 1 {
				literal(n.Args[0])
			}
		}
		return true
	})
	return found
}

// isCode reports whether an expression is the type reason.Code.
func isCode(e ast.Expr, pkg string) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return pkg == "reason" && e.Name == "Code"
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "reason" && e.Sel.Name == "Code"
	}
	return false
}

// TestReasonsPage checks that docs/reasons.md is what the catalogue says. go test -run TestReasonsPage . -update writes it.
func TestReasonsPage(t *testing.T) {
	const path = "docs/reasons.md"
	golden.Check(t, path, reasonsPage())
}

func reasonsPage() string {
	var b strings.Builder
	b.WriteString(`# Reasons

Everything that can go wrong in a way that you may meet, with the way out. The codes are stable: they are never renamed or
reused. The number is the exit code of the command. This page is made from internal/reason/catalogue.go.
`)
	for _, e := range reason.All() {
		fmt.Fprintf(&b, "\n## %s\n\n%s. Exit code %d.\n", e.Code, sentence(e.Title), e.Exit)
		if text := reason.Explain(e.Code); text != "" {
			fmt.Fprintf(&b, "\n%s\n", text)
		}
		fmt.Fprintf(&b, "\nFix (%s, cost: %s): %s.\n", e.Where, e.Cost, e.Fix)
	}
	return b.String()
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
