//go:build !race

package session

const manyRequests = 100_000
