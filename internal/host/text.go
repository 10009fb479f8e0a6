package host

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/console"
)

// maxShown bounds lists in the view for people, and maxOwnersShown that of the programs that listen.
const (
	maxShown       = 5
	maxOwnersShown = 8
)

// Text returns what Show shows, without colours and not wrapped. Every line ends with a newline.
func (f Facts) Text() string {
	p := &console.Page{}
	f.Show(p)
	return p.String()
}

// Show shows what the machine is in a line or two, then the facts that matter most, by sections.
func (f Facts) Show(p *console.Page) {
	p.Line(0, console.Bold, "%s", f.Summary())
	for _, s := range f.sections(p) {
		if len(s.rows) == 0 {
			continue
		}
		p.Blank()
		p.Line(0, console.Bold, "%s", s.title)
		for _, r := range s.rows {
			style := console.Style("")
			if r.text == unknownText {
				style = console.Dim
			}
			p.Row(console.Row{Indent: 2, Label: r.label, Column: 12, Text: r.text, Style: style})
		}
	}
}

const unknownText = "unknown"

// Summary says what the machine is: "Debian GNU/Linux 12 (bookworm) on amd64, a KVM virtual machine at Hetzner; 4 CPUs,
// 7.8 GiB of memory, 60 GiB free on ext4". What is unknown is left out.
func (f Facts) Summary() string {
	s := or(f.OS.Name, or(strings.TrimSpace(f.OS.ID+" "+f.OS.Version), "An unknown system"))
	if f.OS.Name == "" && f.OS.ID == "" && f.OS.Kind == "darwin" {
		s = "macOS"
	}
	if f.Arch.Name != "" {
		s += " on " + f.Arch.Name
		if bits, ok := f.Arch.Userland.Get(); ok && bits == 32 && (f.Arch.Name == "amd64" || f.Arch.Name == "arm64") {
			s += " with 32-bit programs"
		}
	}
	if v := f.kind(); v != "" {
		s += ", " + v
	}
	if c := cloudTitle(f.Cloud.Name); c != "" {
		s += " at " + c
	}
	if parts := f.sizes(); len(parts) > 0 {
		s += "; " + strings.Join(parts, ", ")
	}
	return s
}

// sizes are those of CPUs, memory and disk that can be used.
func (f Facts) sizes() []string {
	var parts []string
	if n, ok := f.CPU.Usable().Get(); ok {
		parts = append(parts, plural(n, "CPU"))
	}
	if n, ok := f.Memory.Usable().Get(); ok {
		parts = append(parts, Bytes(n)+" of memory")
	}
	if d, ok := f.DiskOf(ClusterDir); ok && d.Free.OK {
		parts = append(parts, Bytes(d.Free.Value)+" free"+before(" on ", d.Type))
	}
	return parts
}

// plural writes a number with its noun: "1 CPU", "0.5 CPUs".
func plural(n float64, noun string) string {
	s := strconv.FormatFloat(n, 'f', -1, 64) + " " + noun
	if n != 1 {
		s += "s"
	}
	return s
}

// few joins the first of a list, and says how many there are beside.
func few(all []string, most int) string {
	if left := len(all) - most; left > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), left)
	}
	return strings.Join(all, ", ")
}

// before puts a text before another one that is not empty.
func before(text, s string) string {
	if s == "" {
		return ""
	}
	return text + s
}

// Bytes writes a size for people, with binary units: "512 MiB", "3.9 GiB".
func Bytes(n uint64) string {
	const unit = 1 << 10
	f, i := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for f >= unit && i < len(units)-1 {
		f, i = f/unit, i+1
	}
	s := strconv.FormatFloat(f, 'f', 1, 64)
	if i < 3 { // below a GiB nobody needs the tenth
		s = strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strings.TrimSuffix(s, ".0") + " " + units[i]
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
