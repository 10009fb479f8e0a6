package apiproxy

import (
	"errors"
	"net/http"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

var (
	errUser    = errors.New("the gateway names no user of the prefix " + wire.UserPrefix + " or several")
	errGroup   = errors.New("the gateway names a group without the prefix " + wire.UserPrefix + ", or too many groups")
	errUpgrade = errors.New("the protocol that is asked for is not one of the Kubernetes API's, or a body comes before it")
)

// buildHeader builds the header of a request to the API server. upgrade is the protocol that it changes to, if any.
func buildHeader(in http.Header) (out http.Header, upgrade string, err error) {
	users := in[wire.HeaderUser]
	if len(users) != 1 || !prefixed(users[0]) {
		return nil, "", errUser
	}
	groups := in[wire.HeaderGroup]
	if len(groups) > maxGroups {
		return nil, "", errGroup
	}
	for _, g := range groups {
		if !prefixed(g) {
			return nil, "", errGroup
		}
	}
	out, upgrade, ok := wire.KubeHeader(in)
	if !ok {
		return nil, "", errUpgrade
	}
	if out["Accept-Encoding"] == nil {
		out.Set("Accept-Encoding", "identity") // else the transport would compress for itself
	}
	if out["User-Agent"] == nil {
		out.Set("User-Agent", "") // else the transport would name itself
	}
	out.Set("Impersonate-User", users[0])
	for _, g := range groups {
		out.Add("Impersonate-Group", g)
	}
	return out, upgrade, nil
}

// prefixed reports whether a name is in the part of the name space that the gateway may speak for.
func prefixed(name string) bool {
	rest, ok := strings.CutPrefix(name, wire.UserPrefix)
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
