package host

import (
	"bytes"
	"encoding/xml"
	"runtime"
	"strings"
)

// systemVersion is where macOS says what it is.
const systemVersion = "/System/Library/CoreServices/SystemVersion.plist"

// kindDarwin is the [OS.Kind] of macOS, as Go names it.
const kindDarwin = "darwin"

// readDarwin returns macOS as its own file describes it. The second result is false on everything else.
func readDarwin(s *System) (OS, bool) {
	u := s.Snapshot().Uname
	if s.Live() {
		u.Sysname = sysname(runtime.GOOS)
	}
	b, err := s.ReadFile(systemVersion)
	if !isDarwin(u) && (err != nil || u.Sysname != "") {
		return OS{}, false
	}
	version := ParseSystemVersion(b)
	return OS{Kind: kindDarwin, ID: "macos", Version: version, Name: strings.TrimSpace("macOS " + version), Family: kindDarwin}, true
}

// isDarwin judges uname. Where a capture does not hold the system's name, the machine does: Linux calls itself aarch64,
// never arm64. Darwin 19 is macOS 10.15; the first arm64 Macs came with 20.
func isDarwin(u Uname) bool {
	if u.Sysname != "" {
		return strings.EqualFold(u.Sysname, kindDarwin)
	}
	major, _ := ParseKernelRelease(u.Release)
	return u.Machine == "arm64" && major >= 19
}

// sysname is what uname calls a kind of system; "" is unknown.
func sysname(kind string) string {
	switch kind {
	case kindDarwin:
		return "Darwin"
	case "linux":
		return "Linux"
	}
	return ""
}

// ParseSystemVersion returns ProductVersion of macOS' SystemVersion.plist, in XML; "" is unknown.
func ParseSystemVersion(b []byte) string {
	d := xml.NewDecoder(bytes.NewReader(b[:min(len(b), 64<<10)])) // it has about 500 bytes
	key, text := "", ""
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		switch t := token.(type) {
		case xml.StartElement:
			text = ""
		case xml.CharData:
			text += string(t)
		case xml.EndElement:
			switch {
			case t.Name.Local == "key":
				key = text
			case t.Name.Local == "string" && key == "ProductVersion":
				return clean(strings.TrimSpace(text))
			}
			text = ""
		}
	}
}
