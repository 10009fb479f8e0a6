// Command demo goes the whole way once, for real: it boots a pristine machine, starts a gateway, installs the agent in the
// machine by curl | sh, deploys a sample project and shows its page. It leaves all of it running, for looking around;
// demo -down removes it. It must be run in the root folder of the checkout, by make demo.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
	"github.com/pipeopshq/pipeops-agent/test/lab"
	"github.com/pipeopshq/pipeops-agent/test/lab/rig"
)

const (
	machineName = "demo"
	projectName = "web"
	greeting    = "a pipeops project"
)

func main() {
	down := flag.Bool("down", false, "remove what an earlier demo left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := demo{out: os.Stdout, began: time.Now()}
	run := d.run
	if *down {
		run = d.down
	}
	if err := d.alone(ctx, run); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// alone does something unless another demo is at work: there is one machine of that name.
func (d *demo) alone(ctx context.Context, do func(context.Context) error) error {
	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	d.lab, d.dir = l, filepath.Join(l.Dir, ".demo")
	lock, err := os.OpenFile(d.dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the lock of the demo: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("another demo is at work; wait for its end: %w", err)
	}
	return do(ctx)
}

type demo struct {
	out    io.Writer
	began  time.Time
	lab    *lab.Lab
	dir    string
	stages []stage
}

type stage struct {
	name string
	took time.Duration
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%7.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// stage tells what is done next, does it and keeps the time.
func (d *demo) stage(name, story string, do func() error) error {
	d.say("%s", story)
	began := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("cannot %s: %w", name, err)
	}
	d.stages = append(d.stages, stage{name, time.Since(began)})
	return nil
}

// down removes machine, gateway and files of an earlier demo; there may be none.
func (d *demo) down(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(d.lab.Dir, machineName)); err == nil {
		m, err := d.lab.Machine(machineName)
		if err != nil {
			return err
		}
		if err := m.Down(ctx); err != nil {
			return err
		}
	}
	if err := rig.OpenGateway("", filepath.Join(d.dir, "gateway")).Stop(ctx); err != nil {
		return err
	}
	return os.RemoveAll(d.dir)
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.down(ctx); err != nil {
		return err
	}
	var r *rig.Rig
	if err := d.stage("start the gateway", "A gateway with an embedded store, a mirror of a k3s release, and a release page of this build", func() (err error) {
		r, err = rig.Start(ctx, ".", d.dir, func(message string) { d.say("  %s", message) })
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.CloseServers()) }() // the gateway stays
	var m *lab.Machine
	if err := d.stage("boot a machine", "A pristine Debian machine with systemd", func() (err error) {
		m, err = r.Lab.Up(ctx, machineName, lab.Options{})
		return err
	}); err != nil {
		return err
	}
	if err := r.PrepareMachine(ctx, m); err != nil {
		return err
	}
	var events rig.Events
	if err := d.stage("install", "In the machine: "+r.InstallLine(machineName), func() error { return d.install(ctx, r, m, &events) }); err != nil {
		return err
	}
	var page string
	if err := d.stage("deploy the project", "At the gateway: pipeops-gateway project apply, then project open", func() (err error) {
		page, err = r.Deploy(ctx, machineName, projectName, greeting, 3*time.Minute)
		return err
	}); err != nil {
		return err
	}
	return d.finish(ctx, r, m, &events, page)
}

// install shows the events of the install as they come.
func (d *demo) install(ctx context.Context, r *rig.Rig, m *lab.Machine, events *rig.Events) error {
	events.Show = func(e wire.Event) {
		switch e.State {
		case "done", "failed", "rolled-back":
			d.say("  %s: %s, %.1f s", e.Title, e.State, float64(e.DurationMS)/1000)
		case "unchanged":
			d.say("  %s: it is so already", e.Title)
		case "":
			for line := range strings.Lines(strings.TrimSpace(e.Message)) {
				d.say("  %s", strings.TrimRight(line, "\n"))
			}
		}
	}
	var stderr bytes.Buffer
	code, err := r.Install(ctx, m, machineName, events, &stderr)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s\n%s", code, events.Failure(), stderr.String())
	}
	return err
}

func (d *demo) finish(ctx context.Context, r *rig.Rig, m *lab.Machine, events *rig.Events, page string) error {
	fmt.Fprintf(d.out, "\nThe page of the project, through the gateway:\n\n    %s\n", page)
	fmt.Fprintf(d.out, "\nWhy this distribution:\n\n")
	for _, e := range events.All {
		if e.Kind == "decision" {
			for line := range strings.Lines(e.Message) {
				fmt.Fprintf(d.out, "    %s\n", strings.TrimRight(line, "\n"))
			}
		}
	}
	fmt.Fprintf(d.out, "\nTimes:\n\n")
	table := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	for _, s := range d.stages {
		fmt.Fprintf(table, "    %s\t%6.1f s\n", s.name, s.took.Seconds())
		if s.name != "install" {
			continue
		}
		for _, e := range events.Steps() {
			fmt.Fprintf(table, "      %s\t%6.1f s\n", e.Title, float64(e.DurationMS)/1000)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	rss, err := m.Shell(ctx, "ps -o rss= -p $(systemctl show --property MainPID --value pipeops-agent)")
	size, sizeErr := m.Shell(ctx, "stat -c %s /usr/local/bin/pipeops-agent")
	if err := errors.Join(err, sizeErr); err != nil {
		return err
	}
	var kibibytes, bytes int64
	if _, err := fmt.Sscan(rss+" "+size, &kibibytes, &bytes); err != nil {
		return fmt.Errorf("cannot read the size of the agent: %w", err)
	}
	fmt.Fprintf(d.out, "\nThe agent: %.1f MB on disk, %.1f MiB of memory while it runs.\n", float64(bytes)/1e6, float64(kibibytes)/1024)
	return d.lookAround(ctx, r)
}

func (d *demo) lookAround(ctx context.Context, r *rig.Rig) error {
	kubeconfig, err := r.Gateway.Run(ctx, "kubeconfig", machineName)
	if err != nil {
		return err
	}
	file := filepath.Join(d.dir, "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write the kubeconfig: %w", err)
	}
	fmt.Fprintf(d.out, `
Look around (all of it goes on running):

    kubectl --kubeconfig %s get pods -A      # from here, through gateway and tunnel
    %s
    go run ./test/lab/cmd/lab exec %s bash                 # a shell in the machine
    go run ./test/lab/cmd/lab exec %s pipeops-agent status
    less %s

Clean up:

    sudo make demo-down
`, file, strings.Join(r.Gateway.Command("project", "open", projectName, "--cluster", machineName), " "), machineName, machineName, r.Gateway.LogFile())
	return nil
}
