package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

// An exactTable gathers what tests in guests say of how well the exporter agreed
// with the ledger: by kernel, source and area.
type exactTable struct {
	rows  []string // "kernel\tsource"
	areas []string
	cells map[[2]string]string // by row and area
}

// exactLine is what (*rig).report in package guest logs.
var exactLine = regexp.MustCompile(`EXACTNESS source=(\S+) area=(\S+) regions=(\d+) wrong=(\d+) unobserved=(true|false)`)

// line takes in a line of a test's output, if it is about that.
func (e *exactTable) line(kernel, line string) {
	m := exactLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	row, area, cell := kernel+"\t"+m[1], m[2], "exact"
	switch {
	case m[4] != "0":
		cell = fmt.Sprintf("%s of %s WRONG", m[4], m[3])
	case m[5] == "true":
		cell = "unobserved"
	}
	if e.cells == nil {
		e.cells = map[[2]string]string{}
	}
	if !slices.Contains(e.rows, row) {
		e.rows = append(e.rows, row)
	}
	if !slices.Contains(e.areas, area) {
		e.areas = append(e.areas, area)
	}
	e.cells[[2]string{row, area}] = cell
}

// String returns the table, with an area a line; it is empty if nothing was
// compared.
func (e *exactTable) String() string {
	if len(e.rows) == 0 {
		return ""
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for part := range 2 {
		fmt.Fprint(w, []string{"kernel", "source"}[part])
		for _, row := range e.rows {
			fmt.Fprintf(w, "\t%s", strings.Split(row, "\t")[part])
		}
		fmt.Fprintln(w)
	}
	for _, area := range e.areas {
		fmt.Fprint(w, area)
		for _, row := range e.rows {
			fmt.Fprintf(w, "\t%s", e.cells[[2]string{row, area}])
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a Builder takes everything
	return b.String()
}
