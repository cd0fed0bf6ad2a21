package vm

import (
	"cmp"
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
	// As is its name if not that of the package.
	As string
	// Env is added to the environment of the tests, and Skip are the tests that
	// are left out.
	Env, Skip []string
}

// hooksSuite and stockSuite are the same tests of a source each. A package's
// testdata is in the guest too, and its directory is the working directory.
var (
	hooksSuite = Suite{
		Package: "test/vm/guest", Tags: "guest", Timeout: 20 * time.Minute,
		Skip: []string{"TestNonleafBitIsRefused"}, // of stock alone
	}
	stockSuite = Suite{
		Package: "test/vm/guest", Tags: "guest", As: "stock", Env: []string{"MGLRU_SOURCE=stock"}, Timeout: 20 * time.Minute,
		// Of the hooks alone, or of the command whatever its source.
		Skip: []string{
			"TestProbesSwitchedOff", "TestProbesOffBetweenPasses", "TestProbesOfOthersStayOn", "TestContainer", "TestCapabilitiesOfFiles", "TestServe",
			"TestRefusals", "TestMemcgThatComesLater", "TestHooksAndStockAgree", "TestDAMONMakesNothingCold",
			"TestWorkload", "TestWorkloadLedger", "TestWorkloadLife",
		},
	}
)

// SuitesOf is the one table of what runs on which kernel, in this order.
func SuitesOf(kernel string) []Suite {
	if IsDebian(kernel) {
		return []Suite{stockSuite} // without our patches there are no hooks
	}
	return []Suite{hooksSuite, stockSuite}
}

// AllSuites are all that run on any kernel.
func AllSuites() []Suite { return []Suite{hooksSuite, stockSuite} }

// BenchSuite is what make bench-vm runs.
var BenchSuite = Suite{Package: "test/vm/bench", Tags: "guest", Timeout: 30 * time.Minute}

// Name is what the suite is called in test names.
func (s Suite) Name() string { return cmp.Or(s.As, path.Base(s.Package)) }

// Binary is the file with its tests.
func (s Suite) Binary() string { return path.Base(s.Package) + ".test" }
