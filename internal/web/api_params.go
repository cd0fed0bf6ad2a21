package web

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mglru_exporter/internal/api"
	"mglru_exporter/internal/heatmap"
	"mglru_exporter/internal/name"
)

// maxPID is above any pid that Linux gives, PID_MAX_LIMIT.
const maxPID = math.MaxInt32

// maxText is how long a text parameter may be: a memcg's path is shorter.
const maxText = 4096

// params are the parameters of a request. After the first that is wrong its
// methods do nothing.
type params struct {
	values url.Values
	err    error
}

// newParams parses the query of a request, which may have each of the known
// parameters once, and no other.
func newParams(r *http.Request, known ...string) *params {
	p := &params{}
	if p.values, p.err = url.ParseQuery(r.URL.RawQuery); p.err != nil {
		p.err = fmt.Errorf("the query is not valid: %w", p.err)
		return p
	}
	names := make([]string, 0, len(p.values))
	for name := range p.values {
		names = append(names, name)
	}
	slices.Sort(names) // to name the same one each time
	for _, name := range names {
		switch {
		case !slices.Contains(known, name):
			p.err = fmt.Errorf("there is no parameter %s, there are %s", quote(name), strings.Join(known, ", "))
			return p
		case len(p.values[name]) > 1:
			p.err = fmt.Errorf("%s is given %d times, give it once", name, len(p.values[name]))
			return p
		}
	}
	return p
}

func (p *params) wrong(name, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%s: %s %s", name, quote(p.values.Get(name)), fmt.Sprintf(format, args...))
	}
}

// whole returns a whole number of [lo, hi].
func (p *params) whole(name string, otherwise, lo, hi int) int {
	if p.err != nil || !p.values.Has(name) {
		return otherwise
	}
	v, err := strconv.ParseUint(p.values.Get(name), 10, 31)
	if err != nil || int(v) < lo || int(v) > hi {
		p.wrong(name, "is not a whole number from %d to %d", lo, hi)
		return otherwise
	}
	return int(v)
}

func (p *params) text(name string) string {
	v := p.values.Get(name)
	if len(v) > maxText {
		p.wrong(name, "is longer than %d bytes", maxText)
	}
	return v
}

// quote returns a value fit for a message.
func quote(s string) string {
	const limit = 60
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// A processesQuery says which processes to list.
type processesQuery struct {
	memcg   string
	search  string // in lower case
	limit   int
	compare func(a, b api.Process) int
}

func parseProcesses(r *http.Request) (processesQuery, error) {
	p := newParams(r, "memcg", "search", "sort", "limit")
	q := processesQuery{
		memcg:  p.text("memcg"),
		search: strings.ToLower(p.text("search")),
		limit:  p.whole("limit", api.DefaultLimit, 1, api.MaxLimit),
	}
	if p.values.Has("memcg") && !strings.HasPrefix(q.memcg, "/") {
		p.wrong("memcg", "is not a path from the cgroup root, which begins with a slash")
	}
	by := "cold"
	if p.values.Has("sort") {
		by = p.values.Get("sort")
	}
	order := orders()
	i := slices.IndexFunc(order, func(o ordering) bool { return o.name == by })
	if i < 0 {
		names := make([]string, len(order))
		for i := range order {
			names[i] = order[i].name
		}
		p.wrong("sort", "is not one of %s", strings.Join(names, ", "))
		return q, p.err
	}
	q.compare = func(a, b api.Process) int {
		return cmp.Or(order[i].compare(&a, &b), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Memcg, b.Memcg))
	}
	return q, p.err
}

type ordering struct {
	name    string
	compare func(a, b *api.Process) int
}

// orders are the values of sort: bytes go down, names and numbers up.
func orders() []ordering {
	return []ordering{
		{"cold", func(a, b *api.Process) int { return cmp.Compare(b.Cold, a.Cold) }},
		{"hot", func(a, b *api.Process) int { return cmp.Compare(b.Hot, a.Hot) }},
		{"resident", func(a, b *api.Process) int { return cmp.Compare(b.Resident, a.Resident) }},
		{"unobserved", func(a, b *api.Process) int { return cmp.Compare(b.Unobserved, a.Unobserved) }},
		{"pid", func(a, b *api.Process) int { return cmp.Compare(a.PID, b.PID) }},
		{"comm", func(a, b *api.Process) int { return cmp.Compare(a.Comm, b.Comm) }},
	}
}

// names reports whether the query asks for a memcg: by the name that the API gives
// it or, where that cannot be another one's, by its path as the kernel has it.
func (q *processesQuery) names(path string) bool {
	return q.memcg == name.Escape(path) || q.memcg == path && !strings.Contains(path, "\uFFFD")
}

// finds tells whether a process has what is searched for in its name, number or
// memcg.
func (q *processesQuery) finds(p *listed) bool {
	return q.search == "" || strings.Contains(strings.ToLower(p.Comm), q.search) ||
		strings.Contains(strconv.Itoa(p.PID), q.search) || strings.Contains(strings.ToLower(p.Memcg), q.search)
}

func parseHeatmap(r *http.Request) (pid int, q heatmap.Query, err error) {
	n, err := strconv.ParseUint(r.PathValue("pid"), 10, 31)
	if err != nil || n == 0 {
		return 0, q, fmt.Errorf("pid: %s is not a whole number from 1 to %d", quote(r.PathValue("pid")), maxPID)
	}
	p := newParams(r, "rows", "windows", "from", "to")
	q = heatmap.Query{
		Rows:    p.whole("rows", api.DefaultRows, 1, api.MaxRows),
		Windows: p.whole("windows", api.DefaultWindows, 1, api.MaxWindows),
		From:    p.whole("from", 0, 0, math.MaxInt32-1),
		To:      p.whole("to", 0, 1, math.MaxInt32),
	}
	if q.To > 0 && q.To <= q.From {
		p.wrong("to", "is not above from, %d", q.From)
	}
	return int(n), q, p.err
}
