package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"unicode/utf8"
)

const (
	// maxNotice bounds what a service says at once, in bytes (systemd takes a page).
	maxNotice = 4 << 10
	// maxSaid bounds what is kept of it.
	maxSaid = 200
)

// notice is what a service says of itself (sd_notify(3)).
type notice struct {
	ready, alive bool
	status       string // one line
}

func parseNotice(text []byte) notice {
	var n notice
	for line := range strings.SplitSeq(string(text), "\n") {
		switch name, value, _ := strings.Cut(line, "="); {
		case line == "READY=1":
			n.ready = true
		case line == "WATCHDOG=1":
			n.alive = true
		case name == "STATUS" && utf8.ValidString(value):
			n.status = strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return ' '
				}
				return r
			}, value[:min(len(value), maxSaid)])
			n.status = strings.ToValidUTF8(n.status, "")
		}
	}
	return n
}

// listen makes the socket to which a service speaks, in a folder of root's. It is made anew
// under the same name after a crash of ours, so that who speaks by its name is heard again.
func listen(path string) (*net.UnixConn, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot listen to a service: %w", err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen to a service: %w", err)
	}
	return conn, nil
}

// listenTo hears until the socket is closed.
func listenTo(conn *net.UnixConn, hear func(notice)) {
	buffer := make([]byte, maxNotice)
	for {
		n, _, err := conn.ReadFromUnix(buffer)
		if err != nil {
			return
		}
		hear(parseNotice(buffer[:n]))
	}
}
