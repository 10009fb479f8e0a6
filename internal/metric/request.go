package metric

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// RequestCounter counts the requests of one end.
type RequestCounter struct {
	Set    *Set
	Prefix string
	open   atomic.Int64
}

// Open is how many are being carried out.
func (c *RequestCounter) Open() int64 { return c.open.Load() }

// Begin counts a request that begins. The function that it returns must be called when that is over.
func (c *RequestCounter) Begin() (end func(kind string, status int, refused string, in, out int64)) {
	began := time.Now()
	c.open.Add(1)
	return func(kind string, status int, refused string, in, out int64) {
		c.open.Add(-1)
		c.Set.Add(c.Prefix+Requests, 1, kind, class(status))
		if status >= http.StatusBadRequest && refused != "" {
			c.Set.Add(c.Prefix+Refused, 1, refused)
		}
		c.Set.Add(c.Prefix+Bytes, uint64(max(in, 0)), In, kind)
		c.Set.Add(c.Prefix+Bytes, uint64(max(out, 0)), Out, kind)
		if kind != KindWatch && kind != KindUpgrade && kind != KindConnect {
			c.Set.Observe(c.Prefix+RequestTime, time.Since(began).Seconds(), kind)
		}
	}
}

func class(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

// KindOf is the kind of a request to the Kubernetes API.
func KindOf(r *http.Request, verb, subresource string) string {
	switch {
	case r.Method == http.MethodConnect:
		return KindConnect
	case r.Header.Get("Upgrade") != "":
		return KindUpgrade
	case verb == "watch", subresource == "log" && r.URL.Query().Get("follow") != "":
		return KindWatch
	}
	return KindKube
}
