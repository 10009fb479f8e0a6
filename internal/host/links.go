package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Link is a network interface. Loopback is left out.
type Link struct {
	Name    string `json:"name"`
	MTU     int    `json:"mtu"` // bytes
	Up      bool   `json:"up"`
	Virtual bool   `json:"virtual"` // no device behind it: bridges, tunnels, pairs
}

// maxInterfaces bounds the links: a node has one for each of its pods.
const maxInterfaces = 64

const linkDir = "/sys/class/net"

func linksProbe() Probe {
	return Probe{Name: "links", Run: func(_ context.Context, s *System) (Part, error) {
		links, err := readLinks(s)
		return func(f *Facts) { f.Links = links }, err
	}}
}

// readLinks returns nil without an error for a captured machine that does not tell.
func readLinks(s *System) ([]Link, error) {
	if l := s.Snapshot().Links; l != nil {
		return l, nil
	}
	var links []Link
	var err error
	if s.Live() {
		links, err = liveLinks(s)
	} else {
		links, err = linksOf(s)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the network interfaces: %w", err)
	}
	slices.SortFunc(links, func(a, b Link) int { // real ones first, so that these remain when there are many
		switch {
		case a.Virtual == b.Virtual:
			return cmp.Compare(a.Name, b.Name)
		case a.Virtual:
			return 1
		}
		return -1
	})
	return links[:min(len(links), maxInterfaces)], nil
}

func liveLinks(s *System) ([]Link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	links := []Link{}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		const up = net.FlagUp | net.FlagRunning
		_, err := s.lstat(path.Join(linkDir, i.Name, "device"))
		links = append(links, Link{Name: i.Name, MTU: i.MTU, Up: i.Flags&up == up, Virtual: errors.Is(err, fs.ErrNotExist)})
	}
	return links, nil
}

// linksOf reads the folder of a captured machine.
func linksOf(s *System) ([]Link, error) {
	entries, err := s.readDir(linkDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links := []Link{}
	for _, e := range entries {
		dir := path.Join(linkDir, e.Name())
		mtu := ParseMTU(s.line(dir + "/mtu"))
		if e.Name() == "lo" || mtu == 0 {
			continue
		}
		links = append(links, Link{
			Name: e.Name(), MTU: mtu, Up: ParseLinkUp(s.line(dir+"/operstate"), s.line(dir+"/flags")), Virtual: !s.has(dir + "/device"),
		})
	}
	return links, nil
}

// ParseMTU reads the size of the largest packet in bytes; 0 is unknown.
func ParseMTU(text string) int {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// ParseLinkUp judges operstate; drivers of tunnels say "unknown" there, and then the flag counts that an administrator sets.
func ParseLinkUp(operstate, flags string) bool {
	if operstate != "unknown" {
		return operstate == "up"
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(flags, "0x"), 16, 32)
	return err == nil && n&1 != 0 // IFF_UP
}
