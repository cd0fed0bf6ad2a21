package vm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestSuitesNameTests: a test that the table names exists, and each test of a
// suite is in exactly one of core and rest. Of a name that is none, -test.run and
// -test.skip say nothing.
func TestSuitesNameTests(t *testing.T) {
	for kernel := range Core {
		if _, err := SuitesOf(kernel, "most"); err == nil {
			t.Error("the part most is no error")
		}
		for name := range Core[kernel] {
			core, all := suite(t, kernel, "core", name), suite(t, kernel, "all", name)
			rest := suite(t, kernel, "rest", name)
			tests := testsOf(t, all.Package)
			for _, test := range slices.Concat(rest.Skip, core.Only) {
				if !slices.Contains(tests, test) {
					t.Errorf("%s/%s: there is no %s in %s", kernel, name, test, all.Package)
				}
			}
			for _, test := range core.Only {
				if slices.Contains(all.Skip, test) || !slices.Contains(rest.Skip, test) {
					t.Errorf("%s/%s: %s is in core, in skip %v: %t, in rest: %t", kernel, name, test, all.Skip,
						slices.Contains(all.Skip, test), !slices.Contains(rest.Skip, test))
				}
			}
		}
	}
}

// suite returns the suite of a name, which has to be there.
func suite(t *testing.T, kernel, part, name string) Suite {
	t.Helper()
	suites, err := SuitesOf(kernel, part)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(suites, func(s Suite) bool { return s.Name() == name })
	if i < 0 {
		t.Fatalf("there is no suite %s on %s in part %s", name, kernel, part)
	}
	return suites[i]
}

// testsOf returns the names of a package's tests.
func testsOf(t *testing.T, pkg string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Root(), pkg, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", pkg, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}
