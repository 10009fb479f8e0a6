package arch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// TestCausesPage checks that docs/causes.md is what the table says. go test -run TestCausesPage . -update writes it.
func TestCausesPage(t *testing.T) {
	golden.Check(t, "docs/causes.md", causesPage())
}

func causesPage() string {
	var b strings.Builder
	b.WriteString(`# Why k3s does not come up

When k3s does not start, ends, or does not get ready, the agent reads what it said since its last start: the journal of its
unit (under OpenRC /var/log/k3s.log), the log of its containerd, and the last lines of the cluster's own pods. It looks for
the causes below in this order, the most specific first, and takes the first that a line tells of on this kind of machine.
An install then ends with the code of the cause, the line as evidence, and the way out; its exit code is 30, for the step was
rolled back, even if the same code refuses a machine with another one before an install. ` + "`pipeops-agent doctor`" + ` does the same for
a cluster that is not well, with exit code 40. Where nothing is recognised, the last words of k3s are shown.
While an install still waits, from the first minute on, what may be the cause is told as a suspicion (event "suspicion"), which ends
nothing: a slow machine says such lines too.

Causes with a "~" are looked for only while k3s still runs: a healthy one says these things in passing.
" ... " stands for anything. This page is made from internal/distro/cause_k3s*.go; the journals from which the causes
are tested lie in internal/distro/testdata/journals, and say whether they were captured or reconstructed.

| cause | only | a line says | code |
| --- | --- | --- | --- |
`)
	for _, c := range distro.K3sCauses() {
		name := c.Name
		if c.Stuck {
			name += " ~"
		}
		says := strings.NewReplacer("|", `\|`).Replace("`" + strings.Join(c.Says, "`, `") + "`")
		fmt.Fprintf(&b, "| %s | %s | %s | [%s](%s) |\n", name, c.When.Title, says, c.Code, strings.TrimPrefix(reason.Lookup(c.Code).Doc(), "docs/"))
	}
	return b.String()
}
