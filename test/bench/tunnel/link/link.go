package link

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Ends are the addresses of the two ends.
const (
	Near = "10.211.55.1"
	Far  = "10.211.55.2"
)

// Link is a link that is up. Programs run at its ends by ip netns exec.
type Link struct {
	Near, Far string // namespaces
	devices   []*os.File
	pumps     sync.WaitGroup
}

// Up makes the link between two namespaces that it makes as well. What a killed process has left of the same name goes first. The link
// must be closed.
func Up(ctx context.Context, name string, config Config) (l *Link, err error) {
	l = &Link{Near: name + "-near", Far: name + "-far"}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	ends := []struct{ namespace, device, own, other string }{
		{l.Near, "bench-near", Near, Far},
		{l.Far, "bench-far", Far, Near},
	}
	for _, e := range ends {
		_ = ip(context.WithoutCancel(ctx), "netns", "del", e.namespace) // most often there is none
		if err := ip(ctx, "netns", "add", e.namespace); err != nil {
			return l, err
		}
		device, err := tun(e.device)
		if err != nil {
			return l, err
		}
		l.devices = append(l.devices, device)
		for _, args := range [][]string{
			{"link", "set", e.device, "netns", e.namespace},
			{"-n", e.namespace, "link", "set", "lo", "up"},
			{"-n", e.namespace, "addr", "add", e.own, "peer", e.other, "dev", e.device},
			{"-n", e.namespace, "link", "set", e.device, "mtu", "1500", "up"},
		} {
			if err := ip(ctx, args...); err != nil {
				return l, err
			}
		}
		if config.SendBuffer > 0 {
			setting := fmt.Sprintf("net.ipv4.tcp_wmem=4096 16384 %d", config.SendBuffer)
			if err := ip(ctx, "netns", "exec", e.namespace, "sysctl", "-qw", setting); err != nil {
				return l, err
			}
		}
	}
	l.pumps.Go(func() { _ = pump(l.devices[0], l.devices[1], config) }) // ends when the devices are closed
	l.pumps.Go(func() { _ = pump(l.devices[1], l.devices[0], config) })
	return l, nil
}

// Close takes the link and its namespaces down. Processes in them must have ended.
func (l *Link) Close() error {
	var errs []error
	for _, d := range l.devices {
		errs = append(errs, d.Close())
	}
	l.pumps.Wait()
	for _, namespace := range []string{l.Near, l.Far} {
		if _, err := os.Stat("/run/netns/" + namespace); err == nil {
			errs = append(errs, ip(context.Background(), "netns", "del", namespace)) // also after an interrupt
		}
	}
	return errors.Join(errs...)
}

// tun makes a TUN device, which goes when it is closed. What is read and written are IP packets and nothing besides.
func tun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make the device %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// transient reports whether a write to a device failed as long as that is going up only.
func transient(err error) bool { return errors.Is(err, unix.EIO) }

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
