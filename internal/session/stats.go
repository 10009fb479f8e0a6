package session

import "time"

// Budget is what may lie unread on all streams of a session, in bytes: the default of package mux.
const Budget = 32 << 20

// Stats are what a session is doing.
type Stats struct {
	Streams int           // open, of both ends
	Unread  int64         // bytes that wait for who reads them
	RTT     time.Duration // of the newest ping; 0 before the first
	Second  bool          // it has a second connection, for streams that say much
}

// Stats returns what the session is doing.
func (s *Session) Stats() Stats {
	return Stats{Streams: s.mux.Streams(), Unread: s.mux.Unread(), RTT: s.mux.RTT(), Second: s.mux.Further() > 0}
}
