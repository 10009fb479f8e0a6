package apiproxy

import (
	"errors"
	"net/http"

	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

var errUpgrade = errors.New("the protocol that is asked for is not one of the Kubernetes API's, or a body comes before it")

// buildHeader builds the header of a request to the API server. upgrade is the protocol that it changes to, if any.
func buildHeader(in http.Header) (out http.Header, upgrade string, err error) {
	user, groups, err := wire.Caller(in)
	if err != nil {
		return nil, "", err
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
	out.Set("Impersonate-User", user)
	for _, g := range groups {
		out.Add("Impersonate-Group", g)
	}
	return out, upgrade, nil
}
