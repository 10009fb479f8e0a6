// Package e2e holds the tests that run in machines of the lab: a real systemd, a real k3s, a real tunnel, a stock kubectl.
// They need root and the build tag e2e (make e2e). PIPEOPS_DIST names the release folder that make dist has made,
// K3S_RELEASE_DIR a folder that is laid out as a release of k3s is. PIPEOPS_E2E_KEEP=1 keeps the machines of failed tests.
//
// What builds for too long to be built here is left out, with a word on how to have it: kind, by make e2e-kind.
package e2e
