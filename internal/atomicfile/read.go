package atomicfile

import (
	"fmt"
	"io"
	"os"
)

// Read returns the content of a file that has at most this many bytes; one that has more is an error, so that no file of the
// machine can fill the memory of who reads it.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return content, nil
}
