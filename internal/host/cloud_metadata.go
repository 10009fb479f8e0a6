package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// metadataTimeout bounds all questions together.
	metadataTimeout = 300 * time.Millisecond
	// maxMetadata bounds an answer; the largest is a droplet's, with the keys of its users.
	maxMetadata = 64 << 10
	maxToken    = 1 << 10
)

// question is one request to a metadata service. Several are asked in order; a provider is there if all are answered.
type question struct {
	path    string
	put     bool
	header  map[string]string
	answers map[string]string // headers of the answer
	wants   string            // what the answer contains
	digits  bool              // the answer is a number
	token   string            // header of the following questions that carries the answer
}

// service is where the metadata is.
type service struct {
	base      string
	transport http.RoundTripper
}

// metadataService is the address that all clouds share. It is link-local, so no proxy is ever asked.
func metadataService() service {
	dialer := &net.Dialer{Timeout: metadataTimeout}
	return service{base: "http://169.254.169.254", transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

// askMetadata asks as every provider wants to be asked, all at once, and believes the first of the list that answers. AWS is
// asked for a token first and never without one (IMDSv2): where containers may not have it, they are not told.
func askMetadata(ctx context.Context, at service, all []provider) Cloud {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	there := make([]bool, len(all))
	var asked sync.WaitGroup
	for i, p := range all {
		if len(p.metadata) > 0 {
			asked.Go(func() { there[i] = at.is(ctx, p.metadata) == nil })
		}
	}
	asked.Wait()
	for i, p := range all {
		if there[i] {
			return Cloud{Name: p.name, Source: "metadata"}
		}
	}
	return Cloud{}
}

func (at service) is(ctx context.Context, questions []question) error {
	tokens := map[string]string{}
	for _, q := range questions {
		text, err := at.ask(ctx, q, tokens)
		if err != nil {
			return fmt.Errorf("cannot ask the metadata service: %w", err)
		}
		if q.token != "" {
			if len(text) == 0 || len(text) > maxToken || strings.ContainsAny(text, "\r\n") {
				return errOther
			}
			tokens[q.token] = text
		}
	}
	return nil
}

func (at service) ask(ctx context.Context, q question, tokens map[string]string) (string, error) {
	method := http.MethodGet
	if q.put {
		method = http.MethodPut
	}
	req, err := http.NewRequestWithContext(ctx, method, at.base+q.path, http.NoBody)
	if err != nil {
		return "", err
	}
	for _, headers := range []map[string]string{q.header, tokens} {
		for k, v := range headers {
			req.Header.Set(k, v)
		}
	}
	resp, err := at.transport.RoundTrip(req) // follows no redirect
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	for k, v := range q.answers {
		if resp.Header.Get(k) != v {
			return "", errOther
		}
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(text, q.wants) || q.digits && (text == "" || strings.Trim(text, "0123456789") != "") {
		return "", errOther
	}
	return text, nil
}

// errOther is the answer of a service that is not the one that was asked for.
var errOther = errors.New("this is another service")
