package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/health"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// packetSizes are the sizes that go both ways, in bytes: one that fits into every packet, and two that fill packets of every
// MTU, jumbo frames included. The pod keeps a file of each.
func packetSizes() []int { return []int{1 << 10, 64 << 10, 256 << 10} }

// packetTimeout is what one transfer gets. Between a machine and its own pods 256 KiB take milliseconds; the first
// retransmissions of TCP come within it.
const packetTimeout = 3 * time.Second

// packetLayer lets large packets pass between this machine and the pod, in both directions.
func packetLayer(p Probe) Layer {
	return Layer{
		ID: LayerPacket, Title: "Large packets pass the pod network", Condition: health.LargePacket, Code: reason.LayerLargePacket,
		After: []string{LayerNetwork}, Probe: true, First: 30 * time.Second, Again: 15 * time.Second,
		Check: p.checkPackets,
	}
}

func (p Probe) checkPackets(ctx context.Context, c *Client) (string, error) {
	pod, err := p.server(ctx, c)
	if err != nil {
		return "", err
	}
	passed := "nothing"
	for _, size := range packetSizes() {
		want := payload(size)
		got, err := p.ask(ctx, packetTimeout, pod.ip, podPort, fmt.Sprintf("/%d", size), nil, size)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%d bytes came, and not those that were sent", len(got))
		}
		if err != nil {
			return "", fmt.Errorf("%s passed; %d bytes from the pod %s to this machine did not: %w%s", passed, size, pod.ip, err, links())
		}
		sum := sha256.Sum256(want)
		got, err = p.ask(ctx, packetTimeout, pod.ip, podPort, "/cgi-bin/sum", want, maxAnswer)
		if err == nil && !strings.HasPrefix(string(got), hex.EncodeToString(sum[:])) {
			err = fmt.Errorf("what came is not what was sent")
		}
		if err != nil {
			return "", fmt.Errorf("%s passed; %d bytes from this machine to the pod %s did not: %w%s", passed, size, pod.ip, err, links())
		}
		passed = fmt.Sprintf("%d bytes each way", size)
	}
	return passed + " passed", nil
}

// payload is what the pod's files hold: lines of 16 bytes.
func payload(size int) []byte {
	return bytes.Repeat([]byte("0123456789abcde\n"), size/16)
}

// links names the MTU of the links that are up, which is where one looks first.
func links() string {
	all, err := net.Interfaces()
	if err != nil {
		return ""
	}
	var seen []string
	for _, l := range all {
		if l.Flags&net.FlagUp != 0 && l.Flags&net.FlagLoopback == 0 && !strings.HasPrefix(l.Name, "veth") && len(seen) < 8 {
			seen = append(seen, fmt.Sprintf("%s %d", l.Name, l.MTU))
		}
	}
	if len(seen) == 0 {
		return ""
	}
	return " (MTU: " + strings.Join(seen, ", ") + ")"
}
