package sampler

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/source"
)

// TestRunbookNamesEachReason: docs/RUNBOOK.md has a row for each reason that
// mglru_skipped_walks_total and mglru_pass_failures_total can have, and no other.
func TestRunbookNamesEachReason(t *testing.T) {
	cfg := parse(t, entries("/a"))
	skips := slices.Concat(bpf.SkipReasons(), (&source.Referenced{}).SkipReasons(), stockReasons(t), []string{"unknown"})
	g, err := newGroup(memcg.Group{Path: "/a"}, &cfg.Memcgs[0], cfg, source.Reasons("hooks"), skips)
	if err != nil {
		t.Fatal(err)
	}
	for alert, want := range map[string][]string{
		"MglruUnobservedHigh": slices.Sorted(maps.Keys(g.stats.Skips)),
		// A memcg that does not exist has no group.
		"MglruPassesFailing": slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(g.stats.Failures)), "memcg_missing"))),
	} {
		if diff := cmp.Diff(want, reasonsInRunbook(t, alert)); diff != "" {
			t.Errorf("reasons in docs/RUNBOOK.md, %s (-the code has +the table has):\n%s", alert, diff)
		}
	}
}

// stockReasons reads what the programs of the source stock skip for: a counter of
// theirs begins only once it has something to count.
func stockReasons(t *testing.T) []string {
	t.Helper()
	return quoted(t, "../../bpf/stock.go", `stockReasons = map\[uint32\]string\{(.*)\}`, `"(\w+)"`)
}

// reasonsInRunbook returns the first column of the table about an alert.
func reasonsInRunbook(t *testing.T, alert string) []string {
	t.Helper()
	return quoted(t, "../../docs/RUNBOOK.md", `(?s)\n### `+alert+`\n.*?\n\| reason \|[^\n]*\n\|[-|]*\n((?:\|[^\n]*\n)*)`, "(?m)^\\| (`[^|]*) \\|")
}

// quoted returns, in order, the words in quotes in what the first group of word
// matches, within what that of part does.
func quoted(t *testing.T, file, part, word string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(part).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has nothing like %s", file, part)
	}
	var words []string
	for _, found := range regexp.MustCompile(word).FindAllStringSubmatch(string(m[1]), -1) {
		for w := range strings.SplitSeq(found[1], ",") {
			words = append(words, strings.Trim(w, " `"))
		}
	}
	slices.Sort(words)
	return words
}
