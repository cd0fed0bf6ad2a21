//go:build !vm

package vm

import "testing"

// TestGuest stands in for the real one, which needs root, QEMU and kernels that
// take minutes to build.
func TestGuest(t *testing.T) {
	t.Skip("GUEST TESTS DID NOT RUN: they are run by make test-vm")
}
