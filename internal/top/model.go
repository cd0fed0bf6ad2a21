package top

import (
	"slices"
	"time"

	"mglru_exporter/internal/api"
)

// sorts are the keys that processes can be sorted by.
var sorts = [...]string{"cold", "hot", "resident", "unobserved", "pid", "comm"}

// Sorts are the keys that processes can be sorted by; the first is the default.
func Sorts() []string { return slices.Clone(sorts[:]) }

// A model is what is known and what is to be shown of it. It does no I/O: keys
// and answers go in, and a query and a frame come out.
type model struct {
	palette  Palette
	url      string
	interval time.Duration
	w, h     int
	zone     *time.Location
	// now is the local time, skew what the exporter's clock is ahead of it.
	now  time.Time
	skew time.Duration
	// source is the exporter's, "" until it is known.
	source string

	paused, help bool
	once         bool   // there are no keys
	notice       string // about the last key, until the next
	err          error  // of the last answer
	heard        time.Time

	list listState
	heat heatState
}

type listState struct {
	sort     int
	search   string
	typing   bool
	answer   *api.Processes
	selected int // the pid, so that it stays selected wherever it is sorted to
	index    int // of the selected one, in answer
	top      int // the first shown
	lengths  map[string]memcgWindow
}

// A memcgWindow is what successive answers tell of a memcg's windows.
type memcgWindow struct {
	end    time.Time
	length time.Duration // 0 until a second one has ended
}

type heatState struct {
	pid      int // 0 while the list is shown
	overlay  Overlay
	answer   *api.Heatmap
	of       query     // what it answers
	from, to int       // positions; to 0 is for all
	upTo     time.Time // the last window shown; zero is for the newest
	cursor   cursor
	drawn    drawing
}

// A cursor is at a line of spots from the top, and some windows back from the
// last one shown.
type cursor struct {
	on         bool
	line, back int
}

// want is the query whose answer the screen needs.
func (m *model) want() query {
	if m.heat.pid == 0 {
		limit := (m.list.index/api.DefaultLimit + 1) * api.DefaultLimit
		if m.list.index+m.listLines() >= limit {
			limit += api.DefaultLimit
		}
		return query{search: m.list.search, sort: sorts[m.list.sort], limit: min(limit, api.MaxLimit)}
	}
	g := m.grid()
	q := query{pid: m.heat.pid, rows: min(g.lines(), api.MaxRows), windows: min(g.w, api.MaxWindows), from: m.heat.from, to: m.heat.to}
	if !m.heat.upTo.IsZero() {
		q.windows = api.MaxWindows
	}
	return q
}

// before is the answer to just what is wanted, if there is one.
func (m *model) before() *api.Heatmap {
	if m.heat.of != m.want() {
		return nil
	}
	return m.heat.answer
}

// take is told an answer to what was wanted.
func (m *model) take(a answer) {
	m.err = a.err
	if a.err != nil {
		return
	}
	m.heard = m.now
	m.skew = a.at.Sub(m.now)
	switch {
	case a.processes != nil:
		m.takeProcesses(a.processes)
	case a.heatmap != nil && a.query.pid == m.heat.pid:
		m.heat.answer, m.heat.of = a.heatmap, a.query
		if m.paused && m.heat.upTo.IsZero() {
			m.hold()
		}
		m.moveCursor(0, 0)
	}
}

func (m *model) takeProcesses(p *api.Processes) {
	l := &m.list
	l.answer, m.source = p, p.Source
	lengths := make(map[string]memcgWindow)
	for _, p := range p.Processes {
		w, known := l.lengths[p.Memcg]
		if known && p.WindowEnd.After(w.end) {
			w.length = p.WindowEnd.Sub(w.end)
		}
		w.end = p.WindowEnd
		lengths[p.Memcg] = w
	}
	l.lengths = lengths
	for i := range p.Processes {
		if p.Processes[i].PID == l.selected {
			m.choose(i)
			return
		}
	}
	m.choose(l.index)
}

// choose selects the process at an index, or the nearest there is.
func (m *model) choose(i int) {
	l := &m.list
	if l.answer == nil || len(l.answer.Processes) == 0 {
		l.index, l.top, l.selected = 0, 0, 0
		return
	}
	n := len(l.answer.Processes)
	l.index = min(max(i, 0), n-1)
	l.selected = l.answer.Processes[l.index].PID
	lines := m.listLines()
	l.top = min(max(l.top, l.index-lines+1), l.index, max(n-lines, 0))
	l.top = max(l.top, 0)
}

func (m *model) current() *api.Process {
	if m.list.answer == nil || len(m.list.answer.Processes) == 0 {
		return nil
	}
	return &m.list.answer.Processes[m.list.index]
}

// open shows the heatmap of a process.
func (m *model) open(pid int) {
	m.heat = heatState{pid: pid, overlay: m.heat.overlay}
	m.err, m.paused = nil, false
}

// there is the time by the exporter's clock.
func (m *model) there() time.Time { return m.now.Add(m.skew) }

// staleAfter is how many windows old data may be.
const staleAfter = 3

// stale tells whether a window that ended then is too old, if windows are that
// long. 0 is for a length that is not known. What is replayed is as old as it is.
func (m *model) stale(end time.Time, length time.Duration) bool {
	return length > 0 && m.source != "replay" && m.there().Sub(end) > staleAfter*length
}

// windowLength is the median of how long a heatmap's windows took, 0 if there
// are not two.
func windowLength(columns []api.Column) time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(columns); i++ {
		gaps = append(gaps, columns[i].End.Sub(columns[i-1].End))
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// shown are the columns up to the last one to be shown, but no fewer than fill
// the screen.
func (m *model) shown() []api.Column {
	h := &m.heat
	if h.answer == nil {
		return nil
	}
	c := h.answer.Columns
	n := len(c)
	if !h.upTo.IsZero() {
		fill := m.grid().w / m.cellsPerColumn()
		for n > fill && c[n-1].End.After(h.upTo) {
			n--
		}
	}
	return c[:n]
}

// hold stays at the last window shown while new ones come.
func (m *model) hold() {
	if c := m.shown(); len(c) > 0 {
		m.heat.upTo = c[len(c)-1].End
	}
}

// scroll goes some windows forward in time, or back.
func (m *model) scroll(by int) {
	h := &m.heat
	c := m.shown()
	if len(c) == 0 {
		return
	}
	all := h.answer.Columns
	switch i := len(c) - 1 + by; {
	case i >= len(all)-1 && !m.paused:
		h.upTo = time.Time{}
	case i >= 0:
		h.upTo = all[min(i, len(all)-1)].End
	default:
		// Older ones than were asked for; the next answer has them.
		h.upTo = all[0].End.Add(time.Duration(i) * windowLength(all))
	}
}

// zoom shows the part of the positions that is as many times as large, around
// the cursor.
func (m *model) zoom(in bool) {
	h := &m.heat
	if h.answer == nil || h.answer.Regions == 0 {
		return
	}
	from, to := h.answer.From, h.answer.To
	size := to - from
	if in {
		size = max(size/2, 1)
	} else {
		size *= 2
	}
	if size >= h.answer.Regions {
		h.from, h.to = 0, 0
		return
	}
	// What is under the cursor stays under it.
	lines := m.grid().lines()
	line := lines / 2
	if h.cursor.on {
		line = h.cursor.line
	}
	fixed := from + (2*line+1)*(to-from)/(2*lines)
	m.pan(fixed-(2*line+1)*size/(2*lines), size)
}

// pan shows so many positions, from one on if they are there.
func (m *model) pan(from, size int) {
	h := &m.heat
	from = min(max(from, 0), h.answer.Regions-size)
	h.from, h.to = from, from+size
}

// moveCursor moves it, scrolls where it would leave the picture at its sides,
// and pans where it would above or below.
func (m *model) moveCursor(lines, windows int) {
	h := &m.heat
	c := &h.cursor
	if h.answer == nil {
		return
	}
	n := m.grid().lines()
	c.line += lines
	if h.to > 0 && lines != 0 && (c.line < 0 || c.line >= n) {
		m.pan(h.from+lines*max((h.to-h.from)/8, 1), h.to-h.from)
	}
	c.line = min(max(c.line, 0), n-1)

	c.back -= windows
	if windows != 0 && (c.back < 0 || c.back >= m.columnsShown()) {
		m.scroll(windows)
	}
	c.back = min(max(c.back, 0), max(m.columnsShown()-1, 0))
}
