package vm

import (
	"cmp"
	"fmt"
	"path"
	"slices"
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
	// Env is added to the environment of the tests, Skip are the tests that are
	// left out, and Only, unless empty, those that run.
	Env, Skip, Only []string
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
			"TestProbesSwitchedOff", "TestProbesOffBetweenPasses", "TestProbesOfOthersStayOn", "TestCapabilitiesOfFiles", "TestServe",
			"TestWaitsUntilTheMachineIsRepaired", "TestMemcgThatComesLater", "TestHooksAndStockAgree",
			"TestWorkload", "TestWorkloadLedger", "TestWorkloadLife",
		},
	}
)

// SuitesOf returns the suites that run on a kernel, in their order. The part of
// their tests is core, those of Core, rest, what make test-all has beyond them, or
// all. The rest on patched is no more than what is timed there, and the core: debug
// has the same patches, and runs everything.
func SuitesOf(kernel, part string) ([]Suite, error) {
	suites := []Suite{hooksSuite, stockSuite}
	if IsDebian(kernel) {
		suites = []Suite{stockSuite} // without our patches there are no hooks
	}
	switch {
	case part == "all":
		return suites, nil
	case part == "core":
		return only(suites, Core[kernel]), nil
	case part == "rest" && kernel == "patched":
		suites = only(suites, Core["debug"])
		for i, s := range suites {
			suites[i].Only = append(slices.Clone(s.Only), "TestRestarts")
		}
		return suites, nil
	case part == "rest":
		for i, s := range suites {
			suites[i].Skip = slices.Concat(s.Skip, Core[kernel][s.Name()])
		}
		return suites, nil
	}
	return nil, fmt.Errorf("MGLRU_TESTS=%s: want core, rest or all", part)
}

// only returns the suites that have tests in the table, with no others.
func only(suites []Suite, table map[string][]string) (some []Suite) {
	for _, s := range suites {
		if s.Only = table[s.Name()]; len(s.Only) > 0 {
			some = append(some, s)
		}
	}
	return some
}

// AllSuites are all that run on any kernel.
func AllSuites() []Suite { return []Suite{hooksSuite, stockSuite} }

// Core has what make test runs, by kernel and suite; make test-vm-rest runs what is
// not in it, and make test-vm all. It is what a change breaks first: pages by the
// ledger, lifetimes, capabilities, the command as a whole. What takes minutes, such
// as a long row of restarts, is left out. Of the patched kernels it is debug, so that
// one build has the tests and lockdep.
var Core = map[string]map[string][]string{
	"debug": {"guest": {
		"TestExact", "TestForkedChildIsUnobservedFirst", "TestExecStartsAnew", "TestLostRecordsAreUnobserved",
		"TestReclaimNeverMakesTouchedPagesCold", "TestPagesOfAnotherMemcgAreUnobserved", "TestHooksAndStockAgree",
		"TestCapabilities", "TestPreflight", "TestServe", "TestWaitsUntilTheMachineIsRepaired", "TestRecordAndReplay",
		"TestWorkloadLedger",
	}},
	"debian-6.12": {"stock": {
		"TestExact", "TestForkedChildIsUnobservedFirst", "TestExecStartsAnew", "TestReclaimNeverMakesTouchedPagesCold",
		"TestPagesOfAnotherMemcgAreUnobserved", "TestMappingsThatWalksLeaveOut", "TestClearRefsMakesNothingCold",
		"TestMovedProcessIsNeverCold", "TestMergedPagesAreNeverCold", "TestLeaderExits", "TestIdle", "TestRegionsOfInterest",
		"TestFilesOfAnotherMemcgAreUnobserved", "TestWithoutSwapOnlyFilesAreObserved", "TestColdSinceBefore",
		"TestCapabilities", "TestPreflight", "TestNonleafBitIsRefused",
	}},
}

// BenchSuite is what make bench-vm runs.
var BenchSuite = Suite{Package: "test/vm/bench", Tags: "guest", Timeout: 30 * time.Minute}

// DistroSuite is what make test-distro runs, in systems as they are installed.
var DistroSuite = Suite{Package: "test/distro", Tags: "guest", Timeout: 20 * time.Minute}

// Name is what the suite is called in test names.
func (s Suite) Name() string { return cmp.Or(s.As, path.Base(s.Package)) }

// Binary is the file with its tests.
func (s Suite) Binary() string { return path.Base(s.Package) + ".test" }
