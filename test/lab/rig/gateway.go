package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipeopshq/pipeops-agent/test/lab"
)

// Gateway is a pipeops-gateway on this side of the bridge. It outlives the program that started it, as the machines do.
type Gateway struct {
	Address string // host:port, for machines and this side alike
	Dir     string // its state; beside it are its log and its pid

	program string
}

// GatewayProgram returns the gateway that make dist built, in the checkout.
func GatewayProgram(checkout string) string {
	return filepath.Join(checkout, Dist, "pipeops-gateway-linux-"+runtime.GOARCH)
}

// StartGateway starts a gateway with its state in dir, which may be new, on a free port of the bridge.
func StartGateway(ctx context.Context, program, dir string) (*Gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", lab.HostAddress+":0")
	if err != nil {
		return nil, fmt.Errorf("cannot find a port for the gateway: %w", err)
	}
	g := &Gateway{Address: listener.Addr().String(), Dir: dir, program: program}
	_ = listener.Close()
	return g, g.Start(ctx)
}

// Start starts the gateway again, at the same address.
func (g *Gateway) Start(ctx context.Context) error {
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the folder of the gateway: %w", err)
	}
	log, err := os.OpenFile(g.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the gateway's log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), g.program, "serve", "--listen", g.Address, "--advertise", lab.HostAddress, "--data", g.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the gateway: %w", err)
	}
	if err := os.WriteFile(g.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return errors.Join(fmt.Errorf("cannot record the gateway: %w", err), cmd.Process.Kill())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return lab.WaitFor(ctx, "the gateway listening", func(ctx context.Context) (bool, error) {
		select {
		case err := <-ended:
			cancel()
			text, _ := os.ReadFile(g.LogFile())
			return false, fmt.Errorf("it ended: %w: %s", err, bytes.TrimSpace(text))
		default:
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", g.Address)
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
}

// Stop ends the gateway in good order. It does nothing when there is none.
func (g *Gateway) Stop(ctx context.Context) error {
	pid := g.pid()
	if pid == 0 {
		return nil
	}
	_ = unix.Kill(pid, unix.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := lab.WaitFor(ctx, "the gateway ended", func(context.Context) (bool, error) { return g.pid() == 0, nil })
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		return err
	}
	if err := os.Remove(g.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pid returns the process of the gateway, 0 if it is not running.
func (g *Gateway) pid() int {
	data, err := os.ReadFile(g.pidFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		return 0
	}
	// the number may have gone to another process since; one that has ended has no command line
	argv, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(argv, []byte("\x00"+g.Dir+"\x00")) {
		return 0
	}
	return pid
}

func (g *Gateway) pidFile() string { return g.Dir + ".pid" }

// LogFile returns where the gateway's output goes.
func (g *Gateway) LogFile() string { return g.Dir + ".log" }

// Command returns a command of the gateway's, as a user would type it.
func (g *Gateway) Command(args ...string) []string {
	return append(append([]string{g.program}, args...), "--data", g.Dir)
}

// Run runs a command of the gateway's and returns its standard output without the last newline.
func (g *Gateway) Run(ctx context.Context, args ...string) (string, error) {
	argv := g.Command(args...)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("cannot run pipeops-gateway %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimRight(stdout.String(), "\n"), nil
}

// OpenGateway returns a gateway that an earlier program started with its state in dir, so that it can be stopped.
func OpenGateway(program, dir string) *Gateway { return &Gateway{Dir: dir, program: program} }
