//go:build guest

package guest

import (
	"testing"
	"time"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
)

// TestIdle stops touching known pages at known passes and touches them again
// later. The clock stands still during a pass, so that ages are exact.
func TestIdle(t *testing.T) {
	const memcg = "/test/idle"
	w := StartWorkload(t, memcg)
	for _, a := range exactAreas() {
		w.Map(t, a)
	}
	r := newRig(t, bpf.HooksOptions{}, `
aging: {interval: 10s, passes_per_window: 4}
heat: {idle_ages: [5s, 10s, 20s, 45s, 90s, 3m, 40m]}`, memcg)
	l := idleLedger{}
	pass := func() {
		r.now = time.Unix(1_700_000_000, 0).Add(l.at)
		l.times = append(l.times, l.at)
		r.mustPass(t, memcg)
		w.EndPass()
		l.at += 10 * time.Second
		if len(l.times)%6 == 0 { // one comes late
			l.at += 25 * time.Second
		}
	}
	pass() // wipes the slate

	total := map[key][]int{}
	for window := range 6 {
		for range r.cfg.Aging.PassesPerWindow {
			n := len(l.times)
			for i, m := range w.Mappings {
				switch {
				case n <= 2+i%4:
					m.TouchAll(t)
				case n == 12+i%5:
					m.TouchEvery(t, 3)
				case n%7 == i%7:
					m.Touch(t, 0, 1, m.NumPages()/2)
				case n%3 == i%3: // twice in some windows
					m.Touch(t, m.NumPages()-10, 1, 5)
				}
			}
			pass()
		}
		l.check(t, r, w, memcg, window, total)
	}
}

type idleLedger struct {
	times []time.Duration // of the passes
	at    time.Duration
}

// idle is for how long pass n sees a page to have been idle.
func (l *idleLedger) idle(m *Mapping, page, n int) time.Duration {
	from := n
	for from > 0 && !m.passes[from].Has(page) {
		from--
	}
	return l.times[n] - l.times[from]
}

// check compares a window's idle pages and reaccesses with the ledger: each page,
// and the bytes of each node and type, of which total has the reaccessed pages.
func (l *idleLedger) check(t *testing.T, r *rig, w *Workload, memcg string, window int, total map[key][]int) {
	t.Helper()
	ages := r.cfg.Memcgs[0].IdleAges
	last := len(l.times) - 1
	first := last - r.cfg.Aging.PassesPerWindow + 1
	idle := map[key][]int{}
	foreign := map[key]bool{} // has pages outside of all mappings
	mapped := map[uint64]heat.Bitmap{}
	at := func(m map[key][]int, k key) []int {
		if m[k] == nil {
			m[k] = make([]int, len(ages))
		}
		return m[k]
	}
	for _, m := range w.Mappings {
		k := key{m.Node, m.Kind.Type()}
		if m.Kind == FilePrivate && m.Write {
			k.typ = heat.Anon
		}
		m.Regions(allPages(m), func(region uint64, inside heat.Bitmap) {
			b := mapped[region]
			b.Or(&inside)
			mapped[region] = b
		})
		for i, age := range ages {
			wantIdle, wantAgain, again := newPages(m.Size/pageSize), newPages(m.Size/pageSize), 0
			for page := range m.NumPages() {
				if !m.Watchable() {
					continue
				}
				if l.idle(m, page, last) >= age {
					wantIdle.set(page)
				}
				for n := first; n <= last; n++ {
					if m.passes[n].Has(page) && l.idle(m, page, n-1) >= age {
						wantAgain.set(page)
						again++
					}
				}
			}
			gotIdle, gotAgain, wrong := 0, 0, 0
			m.Regions(allPages(m), func(region uint64, inside heat.Bitmap) {
				var wi, wa, gi, ga heat.Bitmap
				m.Regions(wantIdle, pick(region, &wi))
				m.Regions(wantAgain, pick(region, &wa))
				for _, p := range r.parts[w.PID] {
					if p.Region == region {
						pi, pa := and(&p.Idle[i], &inside), and(&p.Reaccessed[i], &inside)
						gi.Or(&pi)
						ga.Or(&pa)
					}
				}
				gotIdle += gi.Count()
				gotAgain += ga.Count()
				if gi != wi || ga != wa {
					wrong++
				}
			})
			t.Logf("window %d %-12s %5v: idle %5d of %5d, reaccessed %5d of %5d", window+1, m.Name, age, gotIdle, wantIdle.Count(), gotAgain, wantAgain.Count())
			if wrong > 0 {
				t.Errorf("window %d %s %v: %d regions differ: %d pages idle, want %d; %d reaccessed, want %d",
					window+1, m.Name, age, wrong, gotIdle, wantIdle.Count(), gotAgain, wantAgain.Count())
			}
			at(idle, k)[i] += wantIdle.Count()
			at(total, k)[i] += again
		}
	}
	for _, p := range r.parts[w.PID] {
		k := key{int(p.Node), p.Type}
		in := mapped[p.Region]
		for i := range ages {
			b := p.Idle[i]
			for j := range b {
				b[j] &^= in[j]
			}
			at(idle, k)[i] += b.Count()
		}
		for j := range in {
			if p.Pages[j]&^in[j] != 0 {
				foreign[k] = true
			}
		}
	}
	exact := 0
	for _, a := range areas(t, r.memcg(t, memcg), w.PID) {
		k := key{a.Node, a.Type}
		for i, age := range ages {
			if got, want := int(a.Idle[i]/pageSize), at(idle, k)[i]; got != want {
				t.Errorf("window %d node %d %v: %d pages idle for %v, want %d", window+1, k.node, k.typ, got, age, want)
			}
			got, want := int(a.Reaccessed[i]/pageSize), at(total, k)[i]
			if got < want || got > want && !foreign[k] {
				t.Errorf("window %d node %d %v: %d pages reaccessed after %v, want %d", window+1, k.node, k.typ, got, age, want)
			}
		}
		if !foreign[k] {
			exact++
		}
		if !a.HeatKnown || a.HeatRatio < 0 || a.HeatRatio > 1 {
			t.Errorf("window %d node %d %v: heat ratio %v, known %v", window+1, k.node, k.typ, a.HeatRatio, a.HeatKnown)
		}
	}
	t.Logf("window %d: %d of the nodes and types have the mappings' pages only", window+1, exact)
	if exact < 2 {
		t.Errorf("window %d: only %d nodes and types can be compared exactly", window+1, exact)
	}
}
