package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pipeopshq/pipeops-agent/internal/golden"
)

// TestRecordBytes holds the bytes of records: both ends must go on to mean the same.
func TestRecordBytes(t *testing.T) {
	data := make([]byte, RecordHeader, 16)
	PutHeader(data, RecordData, 5)
	data = append(data, "hello"...)
	var out strings.Builder
	for _, r := range []struct {
		name string
		raw  []byte
	}{
		{"data hello", data},
		{"empty datagram", []byte{0, 0, 0}},
		{"end after 66051 bytes", EndRecord(0x010203)},
		{"close, complete, 5 sent, 7 taken", Close{Sent: 5, Taken: 7}.Record()},
		{"close, gone, with a word", Close{Outcome: OutcomeGone, Sent: 1, Taken: 2, Why: "pod web-0"}.Record()},
	} {
		out.WriteString(r.name + "\n  " + hex.EncodeToString(r.raw) + "\n")
	}
	golden.Check(t, "testdata/records.golden", out.String())
}

func TestCloseRoundTrip(t *testing.T) {
	long := strings.Repeat("é", 400)
	for _, c := range []Close{
		{}, {Outcome: OutcomeReset, Sent: 1<<64 - 1, Taken: 3, Why: "connection reset by peer"}, {Outcome: OutcomeProtocol, Why: long},
	} {
		raw := c.Record()
		kind, length, err := ParseHeader([RecordHeader]byte(raw))
		if err != nil || kind != RecordClose || length != len(raw)-RecordHeader {
			t.Fatalf("%+v: kind %d, %d bytes, %v", c, kind, length, err)
		}
		got, err := ParseClose(raw[RecordHeader:])
		if err != nil || got.Sent != c.Sent || got.Taken != c.Taken || got.Outcome != c.Outcome || !strings.HasPrefix(c.Why, got.Why) || len(got.Why) < min(len(c.Why), 510) {
			t.Errorf("%+v became %+v, %v", c, got, err)
		}
	}
	got, err := ParseClose(Close{Why: "a\x1b[31mb\nc"}.Record()[RecordHeader:])
	if err != nil || got.Why != "a [31mb c" {
		t.Errorf("%q, %v", got.Why, err)
	}
}

func TestHeadersThatAreRefused(t *testing.T) {
	for _, raw := range [][RecordHeader]byte{{3, 0, 1}, {255, 0, 0}, {RecordEnd, 0, 7}, {RecordEnd, 1, 0}, {RecordClose, 0, 16}, {RecordClose, 3, 0}} {
		if _, _, err := ParseHeader(raw); !errors.Is(err, ErrRecord) {
			t.Errorf("%v: %v", raw, err)
		}
	}
}

func TestAsksConnect(t *testing.T) {
	for _, tt := range []struct {
		connection, upgrade []string
		want                bool
	}{
		{[]string{"Upgrade"}, []string{Connect}, true},
		{[]string{"keep-alive, upgrade"}, []string{Connect}, true},
		{nil, []string{Connect}, false},
		{[]string{"Upgrade"}, nil, false},
		{[]string{"Upgrade"}, []string{Connect, "websocket"}, false},
		{[]string{"Upgrade"}, []string{Connect + ", websocket"}, false},
		{[]string{"Upgrade"}, []string{"pipeops-connect/2"}, false},
		{[]string{"Upgraded"}, []string{Connect}, false},
	} {
		if got := AsksConnect(http.Header{"Connection": tt.connection, "Upgrade": tt.upgrade}); got != tt.want {
			t.Errorf("%v %v: %v", tt.connection, tt.upgrade, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(Close{Outcome: OutcomeGone, Sent: 1, Why: "x"}.Record())
	f.Add(EndRecord(9))
	f.Add([]byte{0, 0, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < RecordHeader {
			return
		}
		kind, length, err := ParseHeader([RecordHeader]byte(raw))
		if err != nil {
			return
		}
		if length > MaxRecord || kind > RecordClose {
			t.Fatalf("kind %d, %d bytes", kind, length)
		}
		body := raw[RecordHeader:]
		if len(body) < length {
			return
		}
		body = body[:length]
		switch kind {
		case RecordEnd:
			n, err := ParseEnd(body)
			if err != nil || !bytes.Equal(EndRecord(n)[RecordHeader:], body) {
				t.Fatal(n, err)
			}
		case RecordClose:
			c, err := ParseClose(body)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseClose(c.Record()[RecordHeader:])
			if err != nil || again.Sent != c.Sent || again.Taken != c.Taken || again.Outcome != c.Outcome {
				t.Fatalf("%+v became %+v, %v", c, again, err)
			}
			if strings.ContainsAny(c.Why, "\x1b\n\r\x00") {
				t.Fatalf("%q", c.Why)
			}
		}
	})
}
