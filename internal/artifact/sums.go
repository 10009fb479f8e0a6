package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// maxFiles bounds the files of a list: those of k3s name 4.
const maxFiles = 256

// Sums are SHA-256 digests in hexadecimal by file name.
type Sums map[string]string

// ParseSums reads what sha256sum writes: a digest, two spaces or a space and a star, a file name without a path. Any
// other line, and a name with two digests, is an error.
func ParseSums(data []byte) (Sums, error) {
	line := regexp.MustCompile(`^([0-9a-f]{64}) [ *]([A-Za-z0-9][A-Za-z0-9._+-]{0,127})$`)
	sums := Sums{}
	for i, text := range bytes.Split(data, []byte("\n")) {
		text = bytes.TrimSuffix(text, []byte("\r"))
		if len(text) == 0 {
			continue
		}
		m := line.FindSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("line %d is not a digest and a file name", i+1)
		}
		sum, name := string(m[1]), string(m[2])
		if old, ok := sums[name]; ok && old != sum {
			return nil, fmt.Errorf("line %d gives %s a second digest", i+1, name)
		}
		if sums[name] = sum; len(sums) > maxFiles {
			return nil, fmt.Errorf("more than %d files", maxFiles)
		}
	}
	if len(sums) == 0 {
		return nil, errors.New("no digests")
	}
	return sums, nil
}
