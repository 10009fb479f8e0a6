package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/pipeopshq/pipeops-agent/internal/cli"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

func newProjectOpen(g *globals) *cobra.Command {
	var path string
	var url bool
	var cluster *string
	command := &cobra.Command{
		Use:   "open NAME",
		Short: "Fetch a page of a project through the tunnel and print it",
		Long: `open asks the project itself, through gateway, tunnel and cluster, and prints the body of its answer. The status goes to
the standard error. With --url it prints the address for a browser instead, which asks for a user token as password.`,
		Args: cli.Arguments("NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			p, err := g.admin().Project(command.Context(), *cluster, args[0], 0)
			if err != nil {
				return err
			}
			if url {
				return g.Print(command.OutOrStdout(), map[string]string{"url": p.URL}, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, p.URL)
					return err
				})
			}
			response, err := g.admin().Page(command.Context(), *cluster, args[0], path)
			if err != nil {
				return err
			}
			defer func() { _ = response.Body.Close() }()
			if g.JSON() {
				return printPage(g, command.OutOrStdout(), response)
			}
			_, _ = fmt.Fprintln(command.ErrOrStderr(), response.Status)
			if _, err := io.Copy(command.OutOrStdout(), response.Body); err != nil {
				return reason.New(reason.ProjectUnreachable, "the answer was cut", err)
			}
			return failed(args[0], response)
		},
	}
	command.Flags().StringVar(&path, "path", "/", "path of the page")
	command.Flags().BoolVar(&url, "url", false, "print the address instead of the page")
	cluster = g.clusterFlag(command)
	return command
}

// maxPage bounds a page that is put into JSON.
const maxPage = 8 << 20

func printPage(g *globals, w io.Writer, response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if err != nil {
		return reason.New(reason.ProjectUnreachable, "the answer was cut", err)
	}
	return g.Print(w, map[string]any{"status": response.StatusCode, "header": response.Header, "body": string(body)}, nil)
}

// failed makes an error of an answer of the project that says it failed.
func failed(name string, response *http.Response) error {
	if response.StatusCode < 500 {
		return nil
	}
	return reason.Newf(reason.ProjectUnreachable, "%s answered %s", name, response.Status)
}
