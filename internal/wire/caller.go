package wire

import (
	"errors"
	"net/http"
	"strings"
)

// MaxGroups bounds the groups of one user.
const MaxGroups = 64

// Errors of a request that does not name its user as it should.
var (
	ErrUser  = errors.New("the gateway names no user of the prefix " + UserPrefix + " or several")
	ErrGroup = errors.New("the gateway names a group without the prefix " + UserPrefix + ", or too many groups")
)

// Caller returns for whom the gateway asks, as the cluster is to know them: exactly one user, and groups, all in the part of the
// name space that the gateway may speak for. The error is [ErrUser] or [ErrGroup].
func Caller(in http.Header) (user string, groups []string, err error) {
	users := in[HeaderUser]
	if len(users) != 1 || !prefixed(users[0]) {
		return "", nil, ErrUser
	}
	groups = in[HeaderGroup]
	if len(groups) > MaxGroups {
		return "", nil, ErrGroup
	}
	for _, g := range groups {
		if !prefixed(g) {
			return "", nil, ErrGroup
		}
	}
	return users[0], groups, nil
}

// prefixed reports whether a name is in the part of the name space that the gateway may speak for.
func prefixed(name string) bool {
	rest, ok := strings.CutPrefix(name, UserPrefix)
	if !ok || rest == "" || len(name) > 256 {
		return false
	}
	for i := 0; i < len(rest); i++ {
		if rest[i] <= ' ' || rest[i] >= 0x7f || rest[i] == ',' {
			return false
		}
	}
	return true
}
