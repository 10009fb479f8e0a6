package manifest

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

const (
	// maxBytes bounds a file, in bytes: the largest of a k3s release has 0.7 GB.
	maxBytes = 4 << 30
	// maxPath bounds a path, in bytes, and with it the address that it becomes.
	maxPath = 512
)

// File is one file that may be installed.
type File struct {
	Product string `json:"product"`        // k3s, k3d, kind, minikube, kubectl, pipeops-agent
	Version string `json:"version"`        // as its makers write it: v1.33.2+k3s1
	Arch    string `json:"arch,omitempty"` // as Go names it; "" fits any
	Name    string `json:"name"`           // its role in the product: binary, images, install-script, deb, rpm
	Origin  string `json:"origin"`         // where its makers publish it: https://github.com
	Path    string `json:"path"`           // below the origin and below every mirror, unescaped: k3s-io/k3s/releases/download/v1.33.2+k3s1/k3s
	Bytes   int64  `json:"bytes"`          // 1 to 4 GiB
	SHA256  string `json:"sha256"`         // in lower-case hexadecimal
}

// URL returns the address of the file below a mirror's base, or at its origin if base is "".
func (f File) URL(base string) string {
	if base == "" {
		base = f.Origin
	}
	return strings.TrimRight(base, "/") + "/" + EscapePath(f.Path)
}

// EscapePath escapes an unescaped path for an address. The + of versions is escaped too, as GitHub wants it.
func EscapePath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.PathEscape(s), "+", "%2B")
	}
	return strings.Join(segments, "/")
}

// rule is the form of a text of a file.
type rule struct {
	what string
	text func(File) string
	form *regexp.Regexp
}

// rules returns the forms of all texts. Compiling them takes a thousand times as long as matching them. No path leaves its
// folder or hides in it.
func rules() []rule {
	word := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,63}$`)
	return []rule{
		{"product", func(f File) string { return f.Product }, word},
		{"name", func(f File) string { return f.Name }, word},
		{"version", func(f File) string { return f.Version }, regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$`)},
		{"arch", func(f File) string { return f.Arch }, regexp.MustCompile(`^([a-z0-9]{1,16})?$`)},
		{"origin", func(f File) string { return f.Origin }, regexp.MustCompile(`^https://[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?(:[0-9]{1,5})?$`)},
		{"path", func(f File) string { return f.Path }, regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+~@-]*(/[A-Za-z0-9_][A-Za-z0-9._+~@-]*)*$`)},
	}
}

// check finds what cannot be a file of a release.
func (f File) check(rules []rule) error {
	for _, r := range rules {
		if text := r.text(f); !r.form.MatchString(text) {
			return fmt.Errorf("%.80q is no %s of a file", text, r.what)
		}
	}
	switch {
	case len(f.Path) > maxPath:
		return fmt.Errorf("the path %.80q... has more than %d bytes", f.Path, maxPath)
	case f.Bytes < 1 || f.Bytes > maxBytes:
		return fmt.Errorf("%s has %d bytes", f.Path, f.Bytes)
	case !isDigest(f.SHA256):
		return fmt.Errorf("%s has no SHA-256", f.Path)
	}
	return nil
}
