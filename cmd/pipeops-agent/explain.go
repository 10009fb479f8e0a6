package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/console"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// explained is the document that --explain prints.
type explained struct {
	reason.Entry
	Explanation string `json:"explanation"`
	Doc         string `json:"doc"`
}

// registerExplain gives a command the flag --explain, which is completed by the shell.
func registerExplain(command *cobra.Command, code *string) {
	command.Flags().StringVar(code, "explain", "", "explain a reason by its code, such as HOST_MEMORY_LOW, and do nothing else")
	_ = command.RegisterFlagCompletionFunc("explain", func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var found []cobra.Completion
		for _, e := range reason.All() {
			if strings.HasPrefix(string(e.Code), strings.ToUpper(typed)) {
				found = append(found, cobra.CompletionWithDesc(string(e.Code), e.Title))
			}
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	})
}

// explain prints what a code means and the way out.
func explain(g *globals, command *cobra.Command, code string) error {
	e, ok := reason.Find(code)
	if !ok {
		failure := reason.Newf(reason.Usage, "there is no reason %q", code)
		if near := reason.Near(code); len(near) > 0 {
			return failure.WithFix("did you mean " + strings.Join(near, ", ") + "?")
		}
		return failure.WithFix("choose one of docs/reasons.md")
	}
	value := explained{Entry: e, Explanation: reason.Explain(e.Code), Doc: e.Doc()}
	return g.Print(command.OutOrStdout(), value, func(w io.Writer) error {
		p := console.PageFor(w, os.Getenv)
		row := func(label, text string) {
			p.Row(console.Row{Label: label, Column: 10, Text: text, Look: console.Bold})
		}
		p.Line(0, console.Bold, "%s: %s", e.Code, e.Title)
		if value.Explanation != "" {
			p.Line(0, "", "%s", value.Explanation)
		}
		p.Blank()
		row("Fix", e.Fix)
		row("Where", string(e.Where))
		row("Cost", string(e.Cost))
		row("Exit code", fmt.Sprint(e.Exit))
		row("See", value.Doc)
		_, err := p.WriteTo(w)
		return err
	})
}
