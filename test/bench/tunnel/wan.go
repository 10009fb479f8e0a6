package main

import (
	"context"
	"errors"

	"github.com/pipeopshq/pipeops-agent/test/bench/tunnel/figures"
)

func wanMeasures() []figures.Measure { return nil }
func slowLink(ctx context.Context, measured []contender, rounds int, seconds float64, say func(string)) ([]figures.Case, error) {
	return nil, errors.New("todo")
}
func loadOnLink(ctx context.Context, r role) error { return errors.New("todo") }
