package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/policy"
)

func newPolicy(g *globals) *cobra.Command {
	command := &cobra.Command{
		Use:   "policy",
		Short: "What the owner of this machine allows the gateway and its users",
		Long: `The file ` + policy.File + ` says what the gateway and its users may do in the cluster of this machine, whatever
rights they have in it. It can only narrow. Without it everything is allowed that the cluster allows; a file that cannot be
understood, or that others than root may write, lets nothing through. A change counts from the next request on.`,
		Args: cli.Arguments(),
		RunE: cli.Help,
	}
	command.AddCommand(newPolicyCheck(g), newPolicyCan(g))
	return command
}

// policySummary is what policy check says.
type policySummary struct {
	File   string         `json:"file"`
	Policy *policy.Policy `json:"policy"` // null: there is none
}

func newPolicyCheck(g *globals) *cobra.Command {
	var s policySummary
	command := &cobra.Command{
		Use:     "check",
		Short:   "Say whether the policy is understood, and what it does",
		Example: "  pipeops-agent policy check\n  pipeops-agent policy check --file ./policy.yaml",
		Args:    cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			var err error
			if s.Policy, err = (&policy.Source{Path: s.File}).Policy(); err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), s, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, s.text())
				return err
			})
		},
	}
	command.Flags().StringVar(&s.File, "file", policy.File, "the policy")
	return command
}

func (s policySummary) text() string {
	if s.Policy == nil {
		return s.File + " is not there: everything is allowed that the cluster allows"
	}
	var says []string
	if s.Policy.ReadOnly {
		says = append(says, "nothing may be changed")
	}
	if s.Policy.NoExec {
		says = append(says, "nothing may be run in containers")
	}
	if len(s.Policy.Ports) > 0 {
		says = append(says, fmt.Sprintf("of pods and services only the ports %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(s.Policy.Ports)), ", "), "[]")))
	}
	if n := len(s.Policy.Deny); n > 0 {
		says = append(says, fmt.Sprintf("nothing of what is denied (rules: %d)", n))
	}
	if n := len(s.Policy.Allow); n > 0 {
		says = append(says, fmt.Sprintf("nothing but what is allowed (rules: %d)", n))
	}
	if len(says) == 0 {
		says = []string{"it allows everything that the cluster allows"}
	}
	return s.File + ": " + strings.Join(says, "; ")
}

func newPolicyCan(g *globals) *cobra.Command {
	var r policy.Request
	var file string
	command := &cobra.Command{
		Use:   "can VERB RESOURCE[.GROUP][/SUBRESOURCE]",
		Short: "Ask whether the policy of this machine allows something",
		Long:  `Ask as kubectl auth can-i does, of the policy alone. Exit code 0 for yes, 10 with the part that forbids for no.`,
		Example: `  pipeops-agent policy can get pods/log -n shop
  pipeops-agent policy can list secrets
  pipeops-agent policy can get services/proxy -n shop --port 80`,
		Args: cli.Arguments("VERB", "RESOURCE"),
		RunE: func(command *cobra.Command, args []string) error {
			name, sub, _ := strings.Cut(args[1], "/")
			r.Verb, r.Subresource = args[0], sub
			r.Resource, r.Group, _ = strings.Cut(name, ".")
			if err := (&policy.Source{Path: file}).Judge(r); err != nil {
				return err
			}
			return g.Print(command.OutOrStdout(), map[string]any{"request": r.String(), "allowed": true}, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, "yes: "+r.String())
				return err
			})
		},
	}
	command.Flags().StringVarP(&r.Namespace, "namespace", "n", "", "of the resource; default: all, or a resource that is in none")
	command.Flags().StringVar(&r.Name, "name", "", "of one resource; default: all of them")
	command.Flags().StringVar(&file, "file", policy.File, "the policy")
	command.Flags().IntVar(&r.Port, "port", 0, "of a pod or service that is asked through the API server")
	return command
}
