//go:build race

package session

// manyRequests is fewer with the race detector, which takes ten times as long.
const manyRequests = 10_000
