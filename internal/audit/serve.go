package audit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Reasons for the end of a request that are no codes of the catalogue.
const (
	AskerGone = "asker gone" // or the connection to it
	AnswerCut = "cut"        // by the other side of the way
)

// Entry is a request on its way. A nil Entry, and one of a nil Log, records nothing.
type Entry struct {
	log    *Log
	first  bool // its start is on the disk before it is carried out
	lasts  bool // it may go on for hours, so its start is recorded
	finish sync.Once

	in, out atomic.Int64
	broken  atomic.Bool

	mu      sync.Mutex
	event   Event
	result  Result
	started bool
	silent  bool
}

type entryKey struct{}

// Of returns the entry of the request that has the context; nil if it has none.
func Of(ctx context.Context) *Entry {
	e, _ := ctx.Value(entryKey{}).(*Entry)
	return e
}

// With returns a context that has the entry.
func With(ctx context.Context, e *Entry) context.Context {
	return context.WithValue(ctx, entryKey{}, e)
}

// Entry begins a request. [Entry.Admit] must come before it is carried out, and [Entry.End] when it is over.
func (l *Log) Entry(e Event) *Entry {
	if l == nil {
		return &Entry{event: e}
	}
	return &Entry{log: l, event: e, result: Result{Began: l.o.Now().UTC()}}
}

// Start begins a request whose start must be on the disk before it is carried out: a command in a container, a connection to a service. It
// returns when it is there. The error is ErrUnavailable: then the request must not be carried out if the log is [Log.Required].
func (l *Log) Start(ctx context.Context, e Event) (*Entry, error) {
	entry := l.Entry(e)
	entry.first = true
	return entry, entry.Admit(ctx)
}

// Change fills in what is known of the request by now.
func (e *Entry) Change(change func(*Event)) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&e.event)
}

// Event returns what is known of the request.
func (e *Entry) Event() Event {
	if e == nil {
		return Event{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.event
}

// Result returns what has come of the request so far, with the bytes.
func (e *Entry) Result() Result {
	if e == nil {
		return Result{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.result
	r.In, r.Out = e.in.Load(), e.out.Load()
	return r
}

// Refused notes why the request was not carried out, or has ended; the first word counts.
func (e *Entry) Refused(code string) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.result.Reason == "" {
		e.result.Reason = clip(code, maxText)
	}
}

// Broken notes that what was carried ended before its time, for one who knows it better than the connection shows.
func (e *Entry) Broken() {
	if e != nil {
		e.broken.Store(true)
	}
}

// Drop lets the request go unrecorded: who asks is nobody that is known, and could fill the log.
func (e *Entry) Drop() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent = true
}

// Keep takes a Drop back: it is known now who asks.
func (e *Entry) Keep() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silent = false
}

// Count adds bytes from and to who asks.
func (e *Entry) Count(in, out int64) {
	if e != nil {
		e.in.Add(in)
		e.out.Add(out)
	}
}

// Admit records the start where that is due: of what runs something or opens a connection, on the disk before it returns; of what may last,
// and of everything if the log is required. The error is ErrUnavailable. It is one only if the log is required: the request must not be
// carried out then.
func (e *Entry) Admit(ctx context.Context) error {
	if e == nil || e.log == nil {
		return nil
	}
	e.mu.Lock()
	if e.started || e.silent || !e.first && !e.lasts && !e.log.o.Required {
		e.mu.Unlock()
		return nil
	}
	e.started = true
	r := Record{Kind: KindStart, Event: e.event.bounded()}
	e.mu.Unlock()
	var err error
	if e.first || e.log.o.Required {
		err = e.log.first(ctx, r, e.first)
	} else {
		err = e.log.record(r)
	}
	if err != nil && !e.log.o.Required {
		return nil // the log itself tells that it is not kept
	}
	if err != nil {
		e.Refused("AUDIT_UNAVAILABLE")
	}
	return err
}

// End records the result; only the first call counts. status is that of HTTP. cut means that the answer ended before its time.
func (e *Entry) End(status int, cut bool) {
	if e == nil {
		return
	}
	e.finish.Do(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.result.Status, e.result.In, e.result.Out = status, e.in.Load(), e.out.Load()
		if cut {
			at := e.result.Out
			e.result.Cut = &at
		}
		if e.log == nil || e.silent {
			return
		}
		e.result.DurationMS = e.log.o.Now().Sub(e.result.Began).Milliseconds()
		kind := KindRequest
		if e.started {
			kind = KindEnd
		}
		result := e.result
		_ = e.log.record(Record{Kind: kind, Event: e.event.bounded(), Result: &result})
	})
}

// Serve answers a request by next and records it. Who serves fills in by [Of] what it learns, and calls [Entry.Admit] before the request is
// carried out.
func (l *Log) Serve(w http.ResponseWriter, r *http.Request, e Event, next http.Handler) {
	l.ServeSeen(w, r, e, next, nil)
}

// ServeSeen is Serve; seen, if it is not nil, is told what came of the request.
func (l *Log) ServeSeen(w http.ResponseWriter, r *http.Request, e Event, next http.Handler, seen func(Event, Result)) {
	entry := l.Entry(e)
	entry.first, entry.lasts = runs(r, e), lasts(r, e)
	answer := &answer{ResponseWriter: w, entry: entry}
	r = r.WithContext(With(r.Context(), entry))
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &counted{ReadCloser: r.Body, entry: entry}
	}
	whole := false
	defer func() {
		cut := !whole || entry.broken.Load()
		switch {
		case cut && r.Context().Err() != nil:
			entry.Refused(AskerGone)
		case cut:
			entry.Refused(AnswerCut)
		}
		entry.End(answer.status(whole), cut)
		if seen != nil {
			seen(entry.Event(), entry.Result())
		}
	}()
	next.ServeHTTP(answer, r)
	whole = true
}

// runs reports whether a request runs something in the cluster, or opens a connection into it.
func runs(r *http.Request, e Event) bool {
	return r.Method == http.MethodConnect || len(r.Header["Upgrade"]) > 0 || slices.Contains([]string{"exec", "attach", "portforward"}, e.Subresource)
}

// lasts reports whether a request may go on for hours.
func lasts(r *http.Request, e Event) bool {
	return e.Verb == "watch" || e.Subresource == "log" && r.URL.Query().Get("follow") != ""
}

// answer counts what goes to who asks.
type answer struct {
	http.ResponseWriter
	entry *Entry
	code  int
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Refused takes the reason of a refusal, see package refusal.
func (a *answer) Refused(code string) { a.entry.Refused(code) }

func (a *answer) WriteHeader(code int) {
	if a.code == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.entry.Count(0, int64(n))
	return n, err
}

// status is that of the answer. One that was never begun is 200 if the handler returned, else none: net/http closes the connection.
func (a *answer) status(whole bool) int {
	if a.code == 0 && whole {
		return http.StatusOK
	}
	return a.code
}

// Hijack gives the connection away, of an upgrade. It goes on being counted.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.code = http.StatusSwitchingProtocols
	c := &connection{Conn: conn, answer: a}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return halfCloser{c, half.CloseWrite}, rw, nil
	}
	return c, rw, nil
}

type connection struct {
	net.Conn
	answer *answer
}

// NetConn is the connection below.
func (c *connection) NetConn() net.Conn { return c.Conn }

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.answer.entry.Count(int64(n), 0)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.answer.entry.Broken()
	}
	return n, err
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.answer.entry.Count(0, int64(n))
	return n, err
}

// halfCloser is a connection of which one direction can be closed.
type halfCloser struct {
	*connection
	half func() error
}

func (h halfCloser) CloseWrite() error { return h.half() }

type counted struct {
	io.ReadCloser
	entry *Entry
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.entry.Count(int64(n), 0)
	return n, err
}

// told returns the parameters of a query that say what is asked for and nothing that could be a secret, in this order. Of command only the
// first word: what is run, not with what.
func told() []string {
	return []string{"container", "command", "stdin", "tty", "ports", "follow", "watch", "limit", "dryRun", "force", "fieldManager", "previous", "tailLines"}
}

// Query returns of a query what a record may hold.
func Query(q url.Values) string {
	var out strings.Builder
	for _, name := range told() {
		values := q[name]
		if name == "command" && len(values) > 0 {
			values = strings.Fields(values[0])
			values = values[:min(len(values), 1)]
		}
		for _, v := range values {
			if out.Len() > 0 {
				out.WriteByte('&')
			}
			out.WriteString(name + "=" + url.QueryEscape(clip(v, 64)))
		}
		if out.Len() > maxText {
			break
		}
	}
	return out.String()
}
