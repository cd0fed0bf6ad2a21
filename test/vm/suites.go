package vm

import (
	"path"
	"time"
)

// A Suite is a package whose tests run in the guest.
type Suite struct {
	// Package is its directory in the repository.
	Package string
	// Tags are the build tags that its guest tests need.
	Tags string
	// Timeout bounds all its tests on the patched kernel; the debug kernel
	// gets three times as much.
	Timeout time.Duration
}

// Suites is the one list of what runs in the guest, in this order. A package's
// testdata is there too, and its directory is the working directory.
var Suites = []Suite{
	{Package: "test/vm/guest", Tags: "guest", Timeout: 10 * time.Minute},
}

// BenchSuite is what make bench-vm runs.
var BenchSuite = Suite{Package: "test/vm/bench", Tags: "guest", Timeout: 30 * time.Minute}

// Name is what the suite is called in test names.
func (s Suite) Name() string { return path.Base(s.Package) }
