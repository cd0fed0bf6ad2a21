// Package preflight is how sources tell what they need of the machine, whether
// they have it, and what would repair it.
package preflight

import (
	"fmt"
	"io"
	"strings"
)

// A Requirement is one thing that a source needs of the machine.
type Requirement struct {
	// Name says what is needed, in a few words.
	Name string `json:"name"`
	// Met reports whether it is there.
	Met bool `json:"met"`
	// Detail is what was found.
	Detail string `json:"detail,omitempty"`
	// Repair is what would meet the requirement, preferably a command. It is of
	// use only where the requirement is not met. It is empty if nothing would.
	Repair string `json:"repair,omitempty"`
	// Effect is what the repair changes for the rest of the host: a verb and its
	// object, such as "switches this host's reclaim to MGLRU".
	Effect string `json:"effect,omitempty"`
	// Note is what a user has to know though the requirement is met.
	Note string `json:"note,omitempty"`
}

// repair is the repair with its effect.
func (q Requirement) repair() string {
	if q.Effect == "" {
		return q.Repair
	}
	return q.Repair + ", which " + q.Effect
}

// A Report is all the requirements of one source.
type Report struct {
	// Source is the source's name, as the config knows it.
	Source string `json:"source"`
	// Granularity is how finely it sees: Page or Mapping.
	Granularity string `json:"granularity"`
	// Requirements are in the order they should be met.
	Requirements []Requirement `json:"requirements"`
	// Notes are what one should know before using it: what it disturbs, and
	// what it cannot know. A sentence each.
	Notes []string `json:"notes,omitempty"`
}

// OK tells whether the source works here: all its requirements are met, and
// there are some.
func (r Report) OK() bool { return len(r.Requirements) > 0 && len(r.Missing()) == 0 }

// Missing returns the requirements that are not met.
func (r Report) Missing() []Requirement {
	var out []Requirement
	for _, q := range r.Requirements {
		if !q.Met {
			out = append(out, q)
		}
	}
	return out
}

// Write prints the reports for a person to read: a line for each requirement,
// below those that are not met what would repair them, and the notes.
func Write(w io.Writer, reports []Report) error {
	return write(w, reports, true, func(Report, Requirement) bool { return true })
}

// WriteBrief prints what of the reports matters beside the verdict: what the better
// source lacks, and what a user has to know of the one that would be used. Of any
// other source it prints a line.
func WriteBrief(w io.Writer, reports []Report, v Verdict) error {
	return write(w, reports, false, func(r Report, q Requirement) bool {
		return r.Source == v.Source && q.Note != "" || r.Source == v.Better && !q.Met
	})
}

// write prints the requirements that are to be shown, with or without the notes.
func write(w io.Writer, reports []Report, notes bool, show func(Report, Requirement) bool) error {
	width := 0
	for _, r := range reports {
		for _, q := range r.Requirements {
			if show(r, q) {
				width = max(width, len([]rune(q.Name)))
			}
		}
	}
	var b strings.Builder
	before := 0
	for i, r := range reports {
		var shown []Requirement
		for _, q := range r.Requirements {
			if show(r, q) {
				shown = append(shown, q)
			}
		}
		if i > 0 && before+len(shown) > 0 {
			b.WriteByte('\n')
		}
		before = len(shown)
		fmt.Fprintf(&b, "source %s: %s", r.Source, r.status())
		if len(shown) == 0 {
			b.WriteString(r.mainRepair())
		}
		b.WriteByte('\n')
		for _, q := range shown {
			mark := "ok"
			if !q.Met {
				mark = "MISSING"
			}
			line := fmt.Sprintf("  %-7s  %-*s  %s", mark, width, q.Name, indent(q.Detail, width+13))
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
			if !q.Met && q.Repair != "" {
				fmt.Fprintf(&b, "  %-7s  → %s\n", "", indent(q.repair(), 13))
			}
			if q.Note != "" {
				fmt.Fprintf(&b, "  %-7s  %s\n", "note", indent(q.Note, 11))
			}
		}
		for _, n := range r.Notes {
			if notes {
				fmt.Fprintf(&b, "  %-7s  %s\n", "note", indent(n, 11))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) status() string {
	switch n := len(r.Missing()); {
	case len(r.Requirements) == 0:
		return "nothing is known of it"
	case n == 0:
		return "works here"
	case n == 1:
		return "does not work here, 1 requirement is not met"
	default:
		return fmt.Sprintf("does not work here, %d requirements are not met", n)
	}
}

// mainRepair returns ": " and the repair that most of the missing requirements have,
// such as to boot another kernel. Without any it returns "".
func (r Report) mainRepair() string {
	most, times := "", map[string]int{}
	for _, m := range r.Missing() {
		if times[m.Repair]++; m.Repair != "" && times[m.Repair] > times[most] {
			most = m.Repair
		}
	}
	if most == "" {
		return ""
	}
	return ": " + most
}

// indent aligns the further lines of a text with its first.
func indent(s string, by int) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", by))
}
