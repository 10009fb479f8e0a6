package manifest

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// format is the only format of our documents that this version knows. What another one means is not guessed.
const format = 1

// errFormat is a document of a format that this version does not know.
var errFormat = errors.New("a format that this version of pipeops-agent does not know")

// decode reads JSON strictly: every field is known, spelled exactly and there once, and nothing follows. (encoding/json
// takes fields of any case and the last of several.)
func decode(data []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(data, into, kjson.DisallowUnknownFields, kjson.DisallowDuplicateFields)
	if err != nil {
		return err
	}
	return errors.Join(strict...)
}

// decodeFormat is decode for a document that names its format: another format is told from a document that is broken.
func decodeFormat(data []byte, into any) error {
	var head struct {
		Format int64 `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	if head.Format != format {
		return fmt.Errorf("%w: %d", errFormat, head.Format)
	}
	return decode(data, into)
}

func encode(document any) ([]byte, error) {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode the document: %w", err)
	}
	return append(data, '\n'), nil
}

// isDigest reports whether the text is a SHA-256 in lower-case hexadecimal.
func isDigest(text string) bool {
	sum, err := hex.DecodeString(text)
	return err == nil && len(sum) == 32 && hex.EncodeToString(sum) == text
}
