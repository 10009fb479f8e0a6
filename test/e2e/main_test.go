//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"testing"
)

// TestMain works in the root of the checkout, where make has built what the tests need. Tests that are parallel have
// machines, a gateway and a mirror of their own; those that look at what all machines share with this host, such as its
// modules and sysctls, are not.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
