package preflight

import (
	"fmt"
	"slices"
	"strings"
)

// Granularities of sources, and of having none.
const (
	Page    = "page"
	Mapping = "mapping"
	None    = "none"
)

// A Verdict is what an exporter would do on this machine.
type Verdict struct {
	// Text is the verdict in one line.
	Text string `json:"text"`
	// Source is the one that would be used, "none" if none is usable.
	Source string `json:"source"`
	// Granularity is that of the source: Page, Mapping or None.
	Granularity string `json:"granularity"`
	// Better is a page-exact source that could be used instead, the one that takes
	// the least effort. It is empty if none could be, or if the source is page-exact.
	Better string `json:"better,omitempty"`
	// Needs are the requirements that the better source lacks, one of each repair.
	// Without a usable source they may be of any.
	Needs []Requirement `json:"needs,omitempty"`
}

// Judge returns the verdict on reports in the order of preference.
func Judge(reports []Report) Verdict {
	v := Verdict{Source: None, Granularity: None}
	for _, r := range reports {
		if r.OK() {
			v.Source, v.Granularity = r.Source, r.Granularity
			break
		}
	}
	if v.Granularity != Page {
		for _, r := range reports {
			needs, ok := r.needs()
			if ok && (v.Source == None || r.Granularity == Page) && (v.Better == "" || effort(needs) < effort(v.Needs)) {
				v.Better, v.Needs = r.Source, needs
			}
		}
	}
	v.Text = v.text()
	return v
}

// needs returns a missing requirement for each repair. It reports false if the source
// is usable, or cannot be made so.
func (r Report) needs() (needs []Requirement, ok bool) {
	repairs := map[string]bool{}
	for _, m := range r.Missing() {
		if m.Repair == "" {
			return nil, false
		}
		if !repairs[m.Repair] {
			repairs[m.Repair] = true
			needs = append(needs, m)
		}
	}
	return needs, len(needs) > 0
}

// effort compares needs: another kernel is more than any number of commands.
func effort(needs []Requirement) int {
	n := len(needs)
	if slices.ContainsFunc(needs, Requirement.needsKernel) {
		n += 1000
	}
	return n
}

// needsKernel reports whether the repair is another kernel.
func (q Requirement) needsKernel() bool { return strings.HasPrefix(q.Repair, "boot ") }

func (v Verdict) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "would use %s", v.Source)
	separator := "; "
	switch v.Granularity {
	case Page:
		b.WriteString(" (page-exact)")
	case Mapping:
		b.WriteString(" (per mapping)")
	default:
		separator = ": "
	}
	if v.Better == "" {
		return b.String()
	}
	fmt.Fprintf(&b, "%s%s needs %s", separator, v.Better, needed(v.Needs))
	return strings.Join(strings.Fields(b.String()), " ")
}

// needed lists repairs. Without another kernel the rest would not help, so that comes
// alone where it is needed.
func needed(needs []Requirement) string {
	for _, n := range needs {
		if !n.needsKernel() {
			continue
		}
		if len(needs) == 1 {
			return "another kernel: " + n.repair()
		}
		return fmt.Sprintf("another kernel, and %d more: %s", len(needs)-1, n.repair())
	}
	var repairs []string
	for _, n := range needs {
		repairs = append(repairs, n.repair())
	}
	if len(needs) == 1 {
		return "one thing: " + repairs[0]
	}
	return fmt.Sprintf("%d things: %s", len(needs), strings.Join(repairs, "; "))
}
