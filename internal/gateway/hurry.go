package gateway

import (
	"net/http"
	"time"
)

const (
	// headerTime bounds the header of a request, and the handshake before the first one; idleTime is how long the next one may be away.
	headerTime = 10 * time.Second
	idleTime   = 3 * time.Minute
	// strangerTime bounds how long a request may take of which nobody knows yet who sends it: a join, whose gateway asks an agent, has a
	// minute.
	strangerTime = 2 * time.Minute
	// restTime bounds how long what nobody wants of a body may take: net/http reads up to 256 KiB of it before it answers
	// (maxPostHandlerReadBytes), for as long as it takes.
	restTime = 10 * time.Second
)

// hurried answers by next, and gives up who sends too slowly.
func hurried(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(strangerTime)) // of a kind that has none: it is no connection
		next(w, r)
		hurry(w)
	}
}

// hurry gives the rest of a request that was answered restTime.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTime))
}
