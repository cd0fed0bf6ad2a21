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
	// Met tells whether it is there.
	Met bool `json:"met"`
	// Detail is what was found.
	Detail string `json:"detail,omitempty"`
	// Repair is what would meet the requirement, preferably a command. It is of
	// use only where the requirement is not met.
	Repair string `json:"repair,omitempty"`
}

// A Report is all the requirements of one source.
type Report struct {
	// Source is the source's name, as the config knows it.
	Source string `json:"source"`
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
	width := 0
	for _, r := range reports {
		for _, q := range r.Requirements {
			width = max(width, len([]rune(q.Name)))
		}
	}
	var b strings.Builder
	for i, r := range reports {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "source %s: %s\n", r.Source, r.verdict())
		for _, q := range r.Requirements {
			mark := "ok"
			if !q.Met {
				mark = "MISSING"
			}
			line := fmt.Sprintf("  %-7s  %-*s  %s", mark, width, q.Name, indent(q.Detail, width+13))
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
			if !q.Met && q.Repair != "" {
				fmt.Fprintf(&b, "  %-7s  → %s\n", "", indent(q.Repair, 13))
			}
		}
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "  %-7s  %s\n", "note", indent(n, 11))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) verdict() string {
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

// indent aligns the further lines of a text with its first.
func indent(s string, by int) string {
	return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", by))
}
