package bpf

import (
	"os"
	"strings"
	"testing"
)

// TestRunbookHasOurRepairs: what the runbook tells people to write is what the code
// does, and what guests try. "y" keeps passes of source stock failing before 6.12.
func TestRunbookHasOurRepairs(t *testing.T) {
	text, err := os.ReadFile("../docs/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{EnableRepair, EnableLeavesRepair} {
		if !strings.Contains(string(text), "`"+want+"`") {
			t.Errorf("docs/RUNBOOK.md has no `%s`", want)
		}
	}
	for _, wrong := range []string{"echo y", "echo Y"} {
		if strings.Contains(string(text), wrong) {
			t.Errorf("docs/RUNBOOK.md says %q", wrong)
		}
	}
}
