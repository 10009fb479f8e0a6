package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Endpoint is a server that an install or a cluster needs, and how it answers this machine.
type Endpoint struct {
	Name    string         `json:"name"`         // "releases", "images", "gateway"
	Address string         `json:"address"`      // HOST:PORT
	IPv4    Known[bool]    `json:"ipv4"`         // whether a TCP connection was made over that family; one that takes too long is unknown
	IPv6    Known[bool]    `json:"ipv6"`         // the same
	PathMTU Known[int]     `json:"path_mtu"`     // bytes: the largest packet that the kernel sends there, the smaller of both families; Linux only
	Skew    Known[float64] `json:"skew_seconds"` // by which our clock is ahead, in whole seconds; unknown where a proxy is set
}

// The names of the endpoints.
const (
	ReachReleases = "releases"
	ReachImages   = "images"
	ReachGateway  = "gateway"
)

const (
	// reachTimeout bounds all connections together, and leaves a rest of [ProbeTimeout].
	reachTimeout = 280 * time.Millisecond
	// maxAnswer bounds the head of an answer; nothing else is read.
	maxAnswer = 64 << 10
	// maxTried bounds the addresses of one family that are tried: a registry has a dozen.
	maxTried = 3
)

// endpoints lists who is asked. A gateway that is not known yet is left out.
func endpoints(gateway string) []Endpoint {
	all := []Endpoint{
		{Name: ReachReleases, Address: "github.com:443"},
		{Name: ReachImages, Address: "registry-1.docker.io:443"},
	}
	if gateway != "" {
		all = append(all, Endpoint{Name: ReachGateway, Address: gateway})
	}
	return all
}

func reachProbe() Probe {
	return Probe{Name: "reach", Run: func(ctx context.Context, s *System) (Part, error) {
		var all []Endpoint
		if s.Live() && s.Network {
			all = newRoad().visit(ctx, endpoints(s.Gateway))
		}
		return func(f *Facts) { f.Reach = all }, nil
	}}
}

// road is how others are reached.
type road struct {
	timeout time.Duration
	proxied bool // requests would go through a proxy
	now     func() time.Time
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

func newRoad() road {
	return road{
		timeout: reachTimeout,
		proxied: environmentProxy(os.Environ()).set(),
		now:     time.Now,
		lookup:  new(net.Resolver).LookupNetIP,
		dial:    new(net.Dialer).DialContext,
	}
}

// answer is what was seen of an endpoint over one family.
type answer struct {
	there Known[bool]
	mtu   Known[int]
	skew  Known[float64]
}

// visit asks all endpoints over both families at once. What takes too long stays unknown.
func (r road) visit(ctx context.Context, all []Endpoint) []Endpoint {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	v4, v6 := make([]answer, len(all)), make([]answer, len(all))
	var asked sync.WaitGroup
	for i, e := range all {
		asked.Go(func() { v4[i] = r.over(ctx, "4", e.Address) })
		asked.Go(func() { v6[i] = r.over(ctx, "6", e.Address) })
	}
	asked.Wait()
	all = slices.Clone(all)
	for i := range all {
		e, a, b := &all[i], v4[i], v6[i]
		e.IPv4, e.IPv6, e.PathMTU, e.Skew = a.there, b.there, a.mtu, a.skew
		if b.mtu.OK && b.mtu.Value < e.PathMTU.Or(b.mtu.Value+1) {
			e.PathMTU = b.mtu
		}
		if !e.Skew.OK {
			e.Skew = b.skew
		}
	}
	return all
}

// over asks one endpoint over one family, "4" or "6".
func (r road) over(ctx context.Context, family, address string) answer {
	host, text, err := net.SplitHostPort(address)
	port, badPort := strconv.ParseUint(text, 10, 16)
	if err != nil || badPort != nil || host == "" || port == 0 { // a setting that is wrong is told elsewhere
		return answer{}
	}
	addresses, err := r.addresses(ctx, family, host)
	if err != nil {
		return answer{}
	}
	none := Is(false)
	for _, a := range addresses[:min(len(addresses), maxTried)] {
		conn, err := r.dial(ctx, "tcp"+family, netip.AddrPortFrom(a, uint16(port)).String())
		if err != nil {
			if !refused(err) {
				none = Known[bool]{}
			}
			continue
		}
		defer conn.Close()
		seen := answer{there: Is(true)}
		if !r.proxied {
			seen.skew = r.skew(ctx, conn, address, host)
		}
		seen.mtu = livePathMTU(conn) // after the question, whose first packet is large enough to learn from (1.5 KB with ML-KEM)
		return seen
	}
	return answer{there: none}
}

// addresses returns none without an error if the host has none of that family.
func (r road) addresses(ctx context.Context, family, host string) ([]netip.Addr, error) {
	all := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		all = append(all, a)
	} else {
		all, err = r.lookup(ctx, "ip"+family, host)
		var missing *net.DNSError
		if errors.As(err, &missing) && missing.IsNotFound {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	var own []netip.Addr
	for _, a := range all {
		if a = a.Unmap(); a.Is4() == (family == "4") {
			own = append(own, a)
		}
	}
	return own, nil
}

// refused tells whether a connection cannot be made, as the kernel or the other side says, and not only was not made in time.
func refused(err error) bool {
	var code syscall.Errno
	return errors.As(err, &code) && slices.Contains([]syscall.Errno{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EADDRNOTAVAIL,
		syscall.EAFNOSUPPORT, syscall.EACCES, syscall.EPERM, // the last two: a rule of this machine
	}, code)
}

// skew compares our clock with the Date header of the answer to HEAD /, whatever the answer is; no redirect is followed.
func (r road) skew(ctx context.Context, conn net.Conn, address, host string) Known[float64] {
	if deadline, ok := ctx.Deadline(); ok && conn.SetDeadline(deadline) != nil {
		return Known[float64]{}
	}
	// With a clock that is wrong no certificate would be valid, so it is not verified: nothing is sent but the question, and
	// nothing is believed but the time, which can do no more than stop an install.
	c := tls.Client(conn, &tls.Config{
		ServerName: host,
		NextProtos: []string{"http/1.1"},

		InsecureSkipVerify: true, //nolint:gosec // see above
	})
	if c.HandshakeContext(ctx) != nil {
		return Known[float64]{}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+address+"/", http.NoBody)
	if err != nil {
		return Known[float64]{}
	}
	sent := r.now()
	if req.Write(c) != nil {
		return Known[float64]{}
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, maxAnswer)), req)
	if err != nil {
		return Known[float64]{}
	}
	defer resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return Known[float64]{}
	}
	got := r.now()
	return Is(sent.Add(got.Sub(sent) / 2).Sub(date).Round(time.Second).Seconds())
}
