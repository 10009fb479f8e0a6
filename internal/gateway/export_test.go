package gateway

import "time"

// Crowd has a gateway believe that so many machines more are connected than are.
func (g *Gateway) Crowd(machines int) {
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	g.sessions.machines += machines
}

// HoldFor has a gateway let agents wait for their turn for so long at most.
func (g *Gateway) HoldFor(most time.Duration) {
	g.admission.mu.Lock()
	defer g.admission.mu.Unlock()
	g.admission.hold = most
}

// Busy has a gateway let nobody in for so long.
func (g *Gateway) Busy(until time.Duration) {
	g.admission.mu.Lock()
	defer g.admission.mu.Unlock()
	g.admission.next = time.Now().Add(until)
}

// Waiting is how many agents have a place that they have not taken.
func (g *Gateway) Waiting() int {
	g.admission.mu.Lock()
	defer g.admission.mu.Unlock()
	return len(g.admission.kept)
}
