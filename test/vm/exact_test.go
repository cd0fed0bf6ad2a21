package vm

import "testing"

func TestExactTable(t *testing.T) {
	var e exactTable
	if e.String() != "" {
		t.Errorf("a table of nothing: %q", e.String())
	}
	for _, line := range []string{
		"=== RUN   TestExact",
		"    exact_test.go:1: EXACTNESS source=hooks area=anon regions=18 wrong=0 unobserved=false",
		"EXACTNESS source=hooks area=locked regions=6 wrong=0 unobserved=true",
	} {
		e.line("patched", line)
	}
	e.line("debian-6.1", "EXACTNESS source=stock area=anon regions=18 wrong=3 unobserved=false")
	const want = "" +
		"kernel  patched     debian-6.1\n" +
		"source  hooks       stock\n" +
		"anon    exact       3 of 18 WRONG\n" +
		"locked  unobserved  \n"
	if got := e.String(); got != want {
		t.Errorf("want\n%s\ngot\n%s", want, got)
	}
}
