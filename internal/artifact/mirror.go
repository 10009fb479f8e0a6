package artifact

import (
	"net/url"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// CheckMirror finds an address that no mirror can have. "" means the origins and is fine.
func CheckMirror(base string) error {
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return reason.Newf(reason.Usage, "%q is no address of a mirror, such as https://mirror.example", base)
	}
	return nil
}
