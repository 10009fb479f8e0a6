package arch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
	"github.com/pipeopshq/pipeops-agent/internal/metric"
)

// TestMetricsPage checks that docs/metrics.md is what is declared. go test -run TestMetricsPage . -update writes it.
func TestMetricsPage(t *testing.T) {
	golden.Check(t, "docs/metrics.md", metricsPage())
}

func metricsPage() string {
	var b strings.Builder
	b.WriteString(`# Metrics

What agent and gateway count, in the text format of Prometheus. This page is made from internal/metric/families.go.

    pipeops-agent metrics                               # asks the running agent by its local socket
    pipeops-gateway metrics                             # asks the gateway by the administrators' socket
    pipeops-gateway serve --metrics 127.0.0.1:9106      # for a Prometheus on this machine
    metrics: 127.0.0.1:9105                             # the same for an agent, in /etc/pipeops-agent/config.yaml

Only loopback addresses are taken: metrics have no password. No label has the name of a user, a cluster or a path; a label has the values
that are listed, and ` + "`other`" + ` for what is none of them, so that nobody outside can make series. Values of ` + "`code`" + ` are those of [reasons.md](reasons.md).
`)
	for _, end := range []struct {
		title    string
		families []metric.Family
	}{{"Agent", metric.Agent()}, {"Gateway", metric.Gateway()}} {
		fmt.Fprintf(&b, "\n## %s\n\n| name | kind | labels | what it counts |\n| --- | --- | --- | --- |\n", end.title)
		for _, f := range end.families {
			var labels []string
			for _, l := range f.Labels {
				switch l.Name {
				case "code", "version":
					labels = append(labels, l.Name)
				default:
					labels = append(labels, l.Name+": "+strings.Join(l.Values, ", "))
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(labels, "; "), f.Help)
		}
	}
	return b.String()
}
