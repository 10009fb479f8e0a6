package gateway

// Crowd has a gateway believe that so many machines more are connected than are.
func (g *Gateway) Crowd(machines int) {
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	g.sessions.machines += machines
}
