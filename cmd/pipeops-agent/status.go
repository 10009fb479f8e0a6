package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/localapi"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newStatus(g *globals) *cobra.Command {
	var prove bool
	command := &cobra.Command{
		Use:   "status",
		Short: "Show what the running agent says of itself, its cluster and its projects",
		Long: `Show what the running agent says of itself. Exit code 0 if it is healthy, 40 if not, or if it does not run. Healthy
means that the tunnel is up, the certificate valid and the API of the cluster reachable; what else is not as it should be is
listed, and judged by doctor.

The layers of the cluster that need a pod to be proved (PodsRun, PodNetwork, ServiceAddress, LargePacket, Storage) are those of
the install, and are proved again when the cluster has come back, and twice a day. --prove lets the agent do so now. In a cluster that was adopted they are not proved, and --prove changes nothing.`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			ask := localapi.Fetch
			if prove {
				ask = localapi.Prove
			}
			status, err := ask(command.Context(), g.socket)
			report, err := statusWith(g, status, err)
			services, whose := g.services(command.Context())
			if err != nil {
				return interrupted(command.Context(), supervised(err, services, whose))
			}
			report.Services = services
			err = g.Print(command.OutOrStdout(), report, func(w io.Writer) error {
				return errors.Join(report.printBegun(w), printStatus(w, status, time.Now()), report.printServices(w, time.Now()))
			})
			if err != nil {
				return err
			}
			if g.JSON() {
				return cli.Told(judge(status))
			}
			return judge(status)
		},
	}
	command.Flags().BoolVar(&prove, "prove", false, "first prove the layers of the cluster again, which takes a pod for some seconds")
	return command
}

// judge returns CLUSTER_UNHEALTHY if a vital condition is not true.
func judge(status localapi.Status) error {
	c, ok := health.Broken(status.Conditions)
	if ok {
		return nil
	}
	return reason.Newf(reason.ClusterUnhealthy, "%s is %s (%s %s)", c.Type, c.Status, c.Reason, c.Message)
}

func printStatus(w io.Writer, s localapi.Status, now time.Time) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(table, "cluster\t%s (%s)\n", console.Clean(s.Cluster), console.Clean(s.ClusterID))
	_, _ = fmt.Fprintf(table, "distribution\t%s %s%s\n", s.Distro, console.Clean(s.Kubernetes), runBy(s))
	if s.Node != "" {
		_, _ = fmt.Fprintf(table, "node\t%s, a %s\n", console.Clean(s.Node), console.Clean(s.Role))
	}
	if len(s.Servers) > 0 {
		_, _ = fmt.Fprintf(table, "servers\t%s\n", console.Clean(strings.Join(s.Servers, ", ")))
	}
	_, _ = fmt.Fprintf(table, "gateway\t%s\n", s.Gateway)
	_, _ = fmt.Fprintf(table, "agent\t%s, up %s, %.1f MiB\n", s.Agent, age(now.Sub(s.Started)), float64(s.RSS)/(1<<20))
	_, _ = fmt.Fprintln(table)
	for _, c := range s.Conditions {
		_, _ = fmt.Fprintf(table, "%s %s\t%s\n", mark(c.Status), c.Type, describe(c, now))
	}
	if len(s.Documents) > 0 {
		_, _ = fmt.Fprintln(table)
	}
	for _, d := range s.Documents {
		last := wire.Condition{Status: health.Unknown, Reason: "NotReported"}
		if n := len(d.Conditions); n > 0 {
			last = d.Conditions[n-1]
		}
		_, _ = fmt.Fprintf(table, "%s %s %s\t%s\n", mark(last.Status), d.Kind, d.Name, describe(last, now))
	}
	return table.Flush()
}

// runBy says who runs a cluster that was adopted.
func runBy(s localapi.Status) string {
	if s.Provider == "" || s.Provider == s.Distro {
		return ""
	}
	return " (" + console.Clean(s.Provider) + ")"
}

func mark(status string) string {
	switch status {
	case health.True:
		return "✓"
	case health.False:
		return "✗"
	}
	return "?"
}

func describe(c wire.Condition, now time.Time) string {
	text := c.Reason
	if c.Message != "" {
		text += ": " + c.Message
	}
	text = console.Clean(text) // it may be what a pod or a registry said
	if !c.Since.IsZero() {
		text += " (for " + age(now.Sub(c.Since))
		if !c.Checked.IsZero() {
			text += ", tried " + age(now.Sub(c.Checked)) + " ago"
		}
		text += ")"
	}
	return text
}

// age renders a duration with its greatest unit only.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
	return fmt.Sprintf("%d seconds", int(max(d, 0).Seconds()))
}
