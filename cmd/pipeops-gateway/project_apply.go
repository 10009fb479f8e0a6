package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/gateway"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

func newProjectApply(g *globals) *cobra.Command {
	var file string
	var wait bool
	var timeout time.Duration
	var cluster *string
	command := &cobra.Command{
		Use:   "apply -f FILE --cluster CLUSTER",
		Short: "Make a cluster run a project as a file describes it",
		Long: `apply reads a project and tells the cluster's agent to make it so. An agent that is not connected does it when it is.

  name: web
  image: example.com/web:1
  port: 8080
  replicas: 2          # 1 if left out
  env: {LOG: debug}`,
		Args: cli.Arguments(),
		RunE: func(command *cobra.Command, _ []string) error {
			p, err := readProject(command.InOrStdin(), file)
			if err != nil {
				return err
			}
			applied, err := g.admin().Apply(command.Context(), *cluster, p)
			if err != nil {
				return err
			}
			if wait {
				if applied, err = g.admin().Project(command.Context(), *cluster, p.Name, timeout); err != nil {
					return err
				}
				if !applied.Ready {
					return reason.Newf(reason.ProjectUnreachable, "%s is not ready after %s: %s", p.Name, timeout, state(applied))
				}
			}
			return g.Print(command.OutOrStdout(), applied, func(w io.Writer) error {
				return printProjects(w, []gateway.Project{applied})
			})
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "file of the project, - for the standard input")
	command.Flags().BoolVar(&wait, "wait", false, "wait until the project is ready")
	command.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait")
	cluster = g.clusterFlag(command)
	return command
}

func readProject(stdin io.Reader, file string) (p wire.Project, err error) {
	if file == "" {
		return p, reason.Newf(reason.Usage, "-f FILE is missing")
	}
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return p, reason.New(reason.ProjectInvalid, "the file cannot be read", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, wire.MaxDocument+1))
	if err == nil && len(raw) > wire.MaxDocument {
		err = fmt.Errorf("it is larger than %d bytes", wire.MaxDocument)
	}
	if err != nil {
		return p, reason.New(reason.ProjectInvalid, "the file cannot be read", err)
	}
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		return p, reason.Newf(reason.ProjectInvalid, "%s: %s", file, plainYAML(err))
	}
	if err := p.Validate(); err != nil {
		return p, reason.New(reason.ProjectInvalid, file, err)
	}
	return p, nil
}

// plainYAML is what is wrong with the text of a file: the library reads YAML by way of JSON, and tells of both.
func plainYAML(err error) string {
	text := err.Error()
	for _, way := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: "} {
		text = strings.TrimPrefix(text, way)
	}
	if strings.HasPrefix(text, "cannot unmarshal ") && strings.HasSuffix(text, " of type wire.Project") {
		return "it is no list of name: value"
	}
	return text
}
