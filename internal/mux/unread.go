package mux

// Unread is how many bytes lie on all streams and wait for who reads them. They are bounded by [Config].Budget.
func (s *Session) Unread() int64 { return s.unread.Load() }
