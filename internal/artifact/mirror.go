package artifact

import (
	"net/url"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// CheckMirror finds an address that no mirror can have. "" means the origins and is fine.
func CheckMirror(base string) error {
	if base == "" || base == BundleBase {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return reason.Newf(reason.Usage, "%q is no address of a mirror, such as https://mirror.example", withoutSecrets(base))
	}
	return nil
}

// withoutSecrets cuts off what may be a password or a token: no mirror takes any, and messages are kept in logs.
func withoutSecrets(text string) string {
	if i := strings.LastIndex(text, "@"); i >= 0 {
		text = "...@" + text[i+1:]
	}
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i] + "..."
	}
	return text
}

// originWord stands for the origins in a list of mirrors.
const originWord = "origin"

// ParseMirrors reads a list of mirrors, separated by commas, in the order of preference; "origin" in it stands for the
// origins. An empty list is nil: the origins only.
func ParseMirrors(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	var all []string
	for base := range strings.SplitSeq(list, ",") {
		base = strings.TrimSpace(base)
		if err := CheckMirror(base); base != originWord && (err != nil || base == "" || base == BundleBase) {
			return nil, reason.Newf(reason.Usage, "%q is no address of a mirror, such as https://mirror.example, nor a list of some", withoutSecrets(list))
		}
		if base == originWord {
			base = ""
		}
		all = append(all, base)
	}
	if len(all) > maxSources {
		return nil, reason.Newf(reason.Usage, "more than %d mirrors are given", maxSources)
	}
	return all, nil
}
