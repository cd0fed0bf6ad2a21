package source

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/process"
)

func TestGenerationsAreReadOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lru_gen")
	write := func(id int, seq int) {
		t.Helper()
		text := fmt.Sprintf("memcg     1 /\n node     0\n          7       1000          1          2\n"+
			"memcg %d /a\n node     0\n          %d       9 0 0\n          %d       5 0 0\n node     1\n          4       9 0 0\n", id, seq-1, seq)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := newGenCache(file)
	check := func(inode uint64, wantID, wantSeq uint64, wantFresh bool) {
		t.Helper()
		g, fresh, err := c.lookup("/a", inode)
		if err != nil {
			t.Fatal(err)
		}
		if g.id != wantID || g.seqs[0] != wantSeq || g.seqs[1] != 4 || fresh != wantFresh {
			t.Errorf("id %d, generations %v, fresh %v; want id %d, %d and 4, fresh %v", g.id, g.seqs, fresh, wantID, wantSeq, wantFresh)
		}
	}
	write(5, 10)
	check(77, 5, 10, true)
	write(6, 20)
	check(77, 5, 10, false)
	c.aged("/a", 0)
	check(77, 5, 11, false)
	check(78, 6, 20, true) // made anew
	if g, fresh, err := c.lookup("/", 1); err != nil || fresh || g.id != 1 || g.seqs[0] != 7 {
		t.Errorf("the root, which was just read along: %+v, fresh %v, %v", g, fresh, err)
	}
	_, _, err := c.lookup("/b", 1)
	if ReasonOf(err) != ReasonGone {
		t.Errorf("a memcg that is not listed: %v, want reason %s", err, ReasonGone)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, _, err = c.lookup("/c", 1); ReasonOf(err) != ReasonUnknownID {
		t.Errorf("without the file: %v, want reason %s", err, ReasonUnknownID)
	}
}

// TestProofs asks what is skipped where nobody can be asked whose pages are.
func TestProofs(t *testing.T) {
	const region = 5
	one := heat.Process{ProcessID: heat.ProcessID{TGID: 1, Start: 10, Image: 100}}
	pages := func(from, to int) (b heat.Bitmap) {
		b.SetRange(from, to)
		return b
	}
	skip := func(reason string, from, to uint64) heat.Record {
		return heat.Record{
			Kind: heat.KindSkip, TGID: 1, Node: -1, Reason: reason,
			Start: region*heat.RegionSize + from*heat.PageSize, End: region*heat.RegionSize + to*heat.PageSize,
		}
	}
	procs := t.TempDir()
	p := newProofs(process.NewFS(procs), notDying, slog.New(slog.DiscardHandler))
	req := Request{Path: "/a", Inode: 7, CanSwap: true, Processes: []heat.Process{one}}
	pass := func(req Request, young heat.Bitmap, other bool) []heat.Record {
		t.Helper()
		p.begin(req)
		p.take([]heat.Record{
			{Kind: heat.KindYoung, Other: other, TGID: 1, Start: region * heat.RegionSize, NotAnon: young},
			{Kind: heat.KindYoung, TGID: 2, Start: region * heat.RegionSize, Anon: pages(0, 512)},
		}, req.Inode)
		return p.end(t.Context(), req)
	}
	check := func(name string, got []heat.Record, want ...heat.Record) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	resident := func(typ heat.Type, b heat.Bitmap) map[int]*heat.Residency {
		return map[int]*heat.Residency{1: {Parts: []heat.ResidentPart{{Region: region, Type: typ, Pages: b}}}}
	}

	check("a pass that ends no window", pass(req, pages(0, 10), false))
	req.Residency = resident(heat.Anon, pages(0, 20))
	check("what was ever young is ours", pass(req, pages(15, 20), false), skip(skipForeign, 10, 15))
	check("and stays so", pass(req, heat.Bitmap{}, false), skip(skipForeign, 10, 15))
	check("what others find proves nothing", pass(req, pages(10, 15), true), skip(skipForeign, 10, 15))
	req.Residency = resident(heat.Anon, pages(0, 5))
	check("less of it", pass(req, heat.Bitmap{}, false))
	req.Residency = resident(heat.Anon, pages(0, 20))
	check("pages that came back are new", pass(req, heat.Bitmap{}, false), skip(skipForeign, 5, 20))

	req.Residency = resident(heat.File, pages(0, 20))
	check("a file's page is ours", pass(req, pages(0, 20), false))
	check("for one window", pass(req, pages(3, 20), false), skip(skipForeign, 0, 3))

	req.Residency = resident(heat.Anon, pages(0, 4))
	check("anon", pass(req, pages(0, 4), false))
	moved := req
	moved.Inode = 8
	check("another memcg", pass(moved, heat.Bitmap{}, false), skip(skipForeign, 0, 4))
	check("back again", pass(req, heat.Bitmap{}, false), skip(skipForeign, 0, 4))
	check("proved", pass(req, pages(0, 4), false))
	exec := req
	exec.Processes = []heat.Process{{ProcessID: heat.ProcessID{TGID: 1, Start: 10, Image: 101}}}
	check("another program", pass(exec, heat.Bitmap{}, false), skip(skipForeign, 0, 4))
	check("proved", pass(exec, pages(0, 4), false))
	p.forget([]int{1})
	check("forgotten", pass(exec, heat.Bitmap{}, false), skip(skipForeign, 0, 4))

	check("proved again", pass(exec, pages(0, 4), false))
	check("and so for good", pass(exec, heat.Bitmap{}, false))
	merged := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(procs, "1"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(procs, "1/ksm_merging_pages"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	merged("0\n")
	check("or until ksmd comes", pass(exec, heat.Bitmap{}, false))
	merged("1\n")
	check("which may have replaced any of them", pass(exec, pages(0, 1), false), skip(skipForeign, 1, 4))
	merged("0\n")
	check("and of what it leaves nothing is known", pass(exec, pages(1, 2), false), skip(skipForeign, 0, 1), skip(skipForeign, 2, 4))
	merged("what\n")
	check("nor if nobody can tell", pass(exec, pages(2, 3), false), skip(skipForeign, 0, 2), skip(skipForeign, 3, 4))

	noSwap := exec
	noSwap.CanSwap = false
	check("not to be aged", pass(noSwap, pages(0, 4), false), skip(skipNoSwap, 0, 4))
	noSwap.Residency = resident(heat.File, pages(0, 4))
	check("a file is", pass(noSwap, pages(0, 4), false))
}

// TestProofsTakenMeanwhile: the walk of one memcg may find pages of a process young
// that the pass of another one is just asking for. It is for the race detector.
func TestProofsTakenMeanwhile(t *testing.T) {
	p := newProofs(process.NewFS(t.TempDir()), notDying, slog.New(slog.DiscardHandler))
	var all heat.Bitmap
	all.SetRange(0, heat.PagesPerRegion)
	req := Request{Inode: 7, CanSwap: true, Processes: []heat.Process{{ProcessID: heat.ProcessID{TGID: 1}}}}
	res := &heat.Residency{}
	for region := range uint64(64) {
		res.Parts = append(res.Parts, heat.ResidentPart{Region: region, Type: heat.Anon, Pages: all})
	}
	p.begin(req)
	req.Residency = map[int]*heat.Residency{1: res}
	var taking sync.WaitGroup
	taking.Go(func() {
		for region := range uint64(1000) {
			p.take([]heat.Record{{Kind: heat.KindYoung, TGID: 1, Start: region % 64 * heat.RegionSize, Anon: all}}, 7)
		}
	})
	for range 20 {
		p.end(t.Context(), req)
	}
	taking.Wait()
	if skips := p.end(t.Context(), req); len(skips) != 0 {
		t.Errorf("%d skips of pages that were all found young", len(skips))
	}
}

// TestProofsByCharge: pages that the kernel says are the memcg's are so, unless there
// are memcgs below it that are dying, whose pages it takes for that memcg's.
func TestProofsByCharge(t *testing.T) {
	const region, inode = 5, 7
	procs := t.TempDir()
	chargedPages(t, procs, 1, region, inode)
	var pages heat.Bitmap
	pages.SetRange(0, heat.PagesPerRegion)
	whole := []heat.Record{{
		Kind: heat.KindSkip, TGID: 1, Node: -1, Reason: skipForeign, Start: region * heat.RegionSize, End: (region + 1) * heat.RegionSize,
	}}
	all := slices.Clone(whole)
	all[0].Start, all[0].End = 0, math.MaxUint64
	for _, tc := range []struct {
		name   string
		inode  uint64
		dying  []bool // when first asked, and when then asked
		err    error
		want   []heat.Record
		unkept bool
	}{
		{"its own", inode, []bool{false, false}, nil, nil, false},
		{"another memcg's", inode + 1, []bool{false, false}, nil, whole, false},
		{"perhaps those of a dying one", inode, []bool{true}, nil, whole, false},
		{"of one that dies just now", inode, []bool{false, true}, nil, all, true},
		{"nobody knows", inode, []bool{false}, memcg.ErrGone, whole, false},
	} {
		asked := 0
		dying := func(path string) (bool, error) {
			if path != "/a" || asked == len(tc.dying) {
				t.Fatalf("%s: asked about %q, after %d times", tc.name, path, asked)
			}
			asked++
			return tc.dying[asked-1], tc.err
		}
		p := newProofs(process.NewFS(procs), dying, slog.New(slog.DiscardHandler))
		req := Request{
			Path: "/a", Inode: tc.inode, CanSwap: true, Processes: []heat.Process{{ProcessID: heat.ProcessID{TGID: 1}}},
			Residency: map[int]*heat.Residency{1: {Parts: []heat.ResidentPart{{Region: region, Type: heat.Anon, Pages: pages}}}},
		}
		p.begin(req)
		if diff := cmp.Diff(tc.want, p.end(t.Context(), req)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if got := p.of(1).kept == nil; got != tc.unkept {
			t.Errorf("%s: all proofs are dropped: %v, want %v", tc.name, got, tc.unkept)
		}
	}
}

func notDying(string) (bool, error) { return false, nil }

// chargedPages has the process's pages of a region be on the LRU and charged to a
// memcg.
func chargedPages(t *testing.T, procs string, tgid int, region, inode uint64) {
	t.Helper()
	write := func(file string, first uint64, value func(i uint64) uint64) {
		t.Helper()
		b := make([]byte, (first+heat.PagesPerRegion)*8)
		for i := range uint64(heat.PagesPerRegion) {
			binary.LittleEndian.PutUint64(b[(first+i)*8:], value(i))
		}
		file = filepath.Join(procs, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const frame, present, lru = 100, 1 << 63, 1 << 5
	write(fmt.Sprint(tgid, "/pagemap"), region*heat.PagesPerRegion, func(i uint64) uint64 { return present | (frame + i) })
	write("kpageflags", frame, func(uint64) uint64 { return lru })
	write("kpagecgroup", frame, func(uint64) uint64 { return inode })
}

// TestWalkOfAnotherMemcg: process 1 was listed for a pass of one memcg, and is walked
// by that of another one, where it has moved meanwhile. That proves nothing of the
// pages that the first is charged for.
func TestWalkOfAnotherMemcg(t *testing.T) {
	s := NewStock(bpf.StockOptions{}, process.NewFS(t.TempDir()), nil, "", "")
	req := func(inode uint64, tgid int) Request {
		return Request{Inode: inode, Processes: []heat.Process{{ProcessID: heat.ProcessID{TGID: tgid}}}}
	}
	s.proofs.begin(req(7, 1))
	s.proofs.begin(req(8, 2))
	walk := func(tgid int) heat.Record { return heat.Record{Kind: heat.KindWalk, TGID: tgid} }
	young := heat.Record{Kind: heat.KindYoung, TGID: 1, Start: heat.RegionSize}
	for _, tc := range []struct {
		name  string
		aging uint64
		want  []heat.Record
		ours  bool // what it found young
	}{
		{"its own memcg is aged", 7, []heat.Record{walk(1), young}, true},
		{"another one is", 8, []heat.Record{young, walk(2)}, false},
		{"one that has begun with neither", 9, []heat.Record{young}, false},
	} {
		s.aging.Store(tc.aging)
		got := s.harvested([]heat.Record{walk(1), young, walk(2), walk(3)})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if _, learned := s.proofs.sinceWindow(1, 7); (len(learned) > 0) != tc.ours {
			t.Errorf("%s: pages of %d regions are taken for its own", tc.name, len(learned))
		}
	}
}
