package recording_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/recording"
)

var update = flag.Bool("update", false, "rewrite the golden files under testdata")

func header() recording.Header {
	return recording.Header{
		Started: time.Date(2026, 11, 22, 1, 2, 3, 456789, time.UTC), Program: "mglru_exporter 1", Kernel: "6.1.0",
		Source: "hooks", Granularity: "page", PassesPerWindow: 4, SkipReasons: []string{"vma"},
	}
}

func bitmap(from, to int) (b heat.Bitmap) {
	b.SetRange(from, to)
	return b
}

// everything has an event of each kind, with each field that it has set.
func everything() []recording.Event {
	id := heat.Process{ProcessID: heat.ProcessID{TGID: 4194304, Start: 1 << 40, Image: 3}, Comm: "a\nb\xff"}
	return []recording.Event{
		{Kind: recording.Generations, Text: "some could not be read"},
		{Kind: recording.GenMemcg, Text: "/a"},
		{Kind: recording.GenNode, Node: 1},
		{Kind: recording.Gen, Gen: memcg.Generation{Seq: 7, Age: time.Second, AnonPages: 1, FilePages: 2}},
		{Kind: recording.Group, Text: "/a", Inode: 1 << 63},
		{Kind: recording.Ungroup, Text: "/b"},
		{Kind: recording.Discovered, At: time.Hour, Text: "permission denied"},
		{Kind: recording.Walk, Record: heat.Record{Kind: heat.KindWalk, TGID: 9, Node: 1}},
		{Kind: recording.Pass, At: time.Hour + 1, Text: "/a", Result: recording.OK},
		{Kind: recording.PID, TGID: 4194304},
		{Kind: recording.Identity, Process: id},
		{Kind: recording.Identity, Result: recording.Gone, Process: heat.Process{ProcessID: heat.ProcessID{TGID: 2}}},
		{Kind: recording.Refused, TGID: 2},
		{Kind: recording.Residency, TGID: 2, Result: recording.NoMemory, Swapped: 12},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 1 << 42, Node: -1, Type: heat.Shmem, Pages: bitmap(1, 511)}},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 0, Node: 63, Pages: bitmap(0, 512)}},
		{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Node: -1, Type: heat.File, Pages: 1 << 40}},
		{Kind: recording.Aging},
		{Kind: recording.Young, Record: heat.Record{Kind: heat.KindYoung, Other: true, TGID: 2, Node: 3,
			Start: 5 * heat.RegionSize, End: 6 * heat.RegionSize, Anon: bitmap(64, 128), NotAnon: bitmap(3, 4)}},
		{Kind: recording.Skip, Record: heat.Record{Kind: heat.KindSkip, TGID: 2, Node: -1, Start: 1, End: ^uint64(0), Reason: "vma"}},
		{Kind: recording.LostBy, TGID: 77},
		{Kind: recording.Aged, Result: recording.Failed, Reason: "raced", Text: "EAGAIN",
			Outcome: recording.Outcome{Nodes: 3, Lost: 2, CPU: time.Millisecond, Memory: 1 << 24}},
		{Kind: recording.Clock, At: 2 * time.Hour},
		{Kind: recording.Walker, Text: "damon"},
		{Kind: recording.Observed, TGID: 5, Result: recording.Failed, Swapped: 4096},
		{Kind: recording.Area, Area: heat.Area{Node: -1, Type: heat.File, Hot: 1, Warm: 2, Cold: 3, Unobserved: 4, Resident: 10}},
		{Kind: recording.Unsure, Text: "reclaim"},
		{Kind: recording.Done},
		{Kind: recording.End, At: 3 * time.Hour},
	}
}

// encode writes events, with a frame for each if flush is set.
func encode(t testing.TB, events []recording.Event, flush bool) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := recording.NewWriter(&buf, header())
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
		if flush {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(buf.Len()) {
		t.Errorf("Size is %d, want %d", w.Size(), buf.Len())
	}
	return buf.Bytes()
}

// decode returns the events of a file, each without what others left in it, and
// the error that ends them.
func decode(data []byte) (events []recording.Event, err error) {
	r, err := recording.NewReader(bytes.NewReader(data), "f")
	if err != nil {
		return nil, err
	}
	for {
		var ev recording.Event
		if err := r.Next(&ev); err != nil {
			return events, err
		}
		events = append(events, ev)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, flush := range []bool{false, true} {
		data := encode(t, everything(), flush)
		got, err := decode(data)
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if diff := cmp.Diff(everything(), got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		r, err := recording.NewReader(iotest.OneByteReader(bytes.NewReader(data)), "f")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(header(), r.Header()); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
	}
	seen := map[recording.Kind]bool{}
	for _, ev := range everything() {
		seen[ev.Kind] = true
	}
	for k := recording.Kind(1); k <= recording.End; k++ {
		if !seen[k] {
			t.Errorf("no event of kind %d is tested", k)
		}
	}
}

// TestFormat holds version 1 to what it was when it was first written: files of
// it are about.
func TestFormat(t *testing.T) {
	const file = "testdata/everything.mglru"
	data := encode(t, everything(), true)
	if *update {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Another release of Go may compress better, so the file itself may differ.
	got, err := decode(old)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everything(), got); diff != "" {
		t.Errorf("a file of version 1 (-want +got):\n%s", diff)
	}
}

func TestManyEventsAreSeveralFrames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var events []recording.Event
	for i := range 20_000 {
		ev := recording.Event{Kind: recording.Young, Record: heat.Record{Kind: heat.KindYoung, TGID: 1 + i/1000, Start: uint64(i) * heat.RegionSize, End: uint64(i+1) * heat.RegionSize}}
		for j := range ev.Record.Anon {
			ev.Record.Anon[j] = rnd.Uint64()
		}
		events = append(events, ev)
	}
	events = append(events, recording.Event{Kind: recording.End})
	got, err := decode(encode(t, events, false))
	if !errors.Is(err, io.EOF) || !slices.EqualFunc(events, got, func(a, b recording.Event) bool { return cmp.Equal(a, b) }) {
		t.Errorf("%d events and %v, want %d", len(got), err, len(events))
	}
}

// TestTruncated cuts a file at every byte: what was whole is read, and the error
// names file and place.
func TestTruncated(t *testing.T) {
	whole := encode(t, everything(), true)
	last := 0
	for n := range whole {
		got, err := decode(whole[:n])
		var e *recording.Error
		if !errors.As(err, &e) || !errors.Is(err, recording.ErrTruncated) || e.File != "f" || e.Offset > int64(n) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if len(got) < last || len(got) > last+1 {
			t.Fatalf("%d bytes have %d events, but one less has %d", n, len(got), last)
		}
		last = len(got)
	}
	if last != len(everything())-1 {
		t.Errorf("all but the last byte have %d events", last)
	}
}

// TestDamaged changes every byte: what comes before is read, and nothing that is
// not so.
func TestDamaged(t *testing.T) {
	whole := encode(t, everything(), true)
	for i := range whole {
		data := slices.Clone(whole)
		data[i] ^= 0x55
		got, err := decode(data)
		var e *recording.Error
		if !errors.As(err, &e) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if int64(i) < e.Offset {
			t.Fatalf("byte %d is reported at %d", i, e.Offset)
		}
		if want := everything()[:len(got)]; len(got) > 0 && !cmp.Equal(want, got) {
			t.Fatalf("byte %d: %s", i, cmp.Diff(want, got))
		}
	}
}

// frame makes a frame with a right checksum of any content.
func frame(packed []byte, packedLen, raw uint32) []byte {
	head := binary.LittleEndian.AppendUint32(nil, packedLen)
	head = binary.LittleEndian.AppendUint32(head, raw)
	sum := crc32.Checksum(append(slices.Clone(head), packed...), crc32.MakeTable(crc32.Castagnoli))
	return append(binary.LittleEndian.AppendUint32(head, sum), packed...)
}

func TestOddFiles(t *testing.T) {
	good := encode(t, nil, false)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":         {nil, "at byte 0: the file ends here"},
		"something else":  {[]byte("\x7fELF and so on, for a while"), "at byte 0: this is not a recording of mglru_exporter"},
		"a later version": {[]byte("mglru_exporter recording 2\n"), `at byte 0: it is of version "2", this program reads version 1`},
		"a long line":     {[]byte("mglru_exporter recording 11111111111111"), "the file ends here"},
		"huge lengths":    {append(slices.Clone(good), frame(nil, 1<<31, 1<<31)...), "says to have 2147483648 bytes"},
		"empty frame":     {append(slices.Clone(good), frame(nil, 0, 0)...), "the frame is damaged"},
		"not compressed":  {append(slices.Clone(good), frame([]byte("xxxx"), 4, 100)...), "the frame is damaged: unexpected EOF"},
		"nothing packed":  {append(slices.Clone(good), frame([]byte{3, 0}, 2, 100)...), "the frame is damaged: EOF"},
		"no end":          {good, "the file ends here, before the recording does"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(c.data)
			if err == nil || errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), "recording f: at byte ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestWriteErrorStays(t *testing.T) {
	full := errors.New("disk full")
	w, err := recording.NewWriter(&limited{room: 400, err: full}, header())
	if err != nil {
		t.Fatal(err)
	}
	ev := recording.Event{Kind: recording.Ungroup, Text: strings.Repeat("/x", 2000)}
	for range 1000 {
		err = w.Write(&ev)
	}
	if !errors.Is(err, full) || !errors.Is(w.Flush(), full) {
		t.Errorf("error %v, want %v for good", err, full)
	}
}

type limited struct {
	room int
	err  error
}

func (l *limited) Write(b []byte) (int, error) {
	if l.room -= len(b); l.room < 0 {
		return 0, l.err
	}
	return len(b), nil
}

// TestNumbering: numbers say which regions are the same and which is above which.
func TestNumbering(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var n recording.Numbering
		numbers := map[uint64]uint64{}
		at := rnd.Uint64N(1 << 26)
		for range 3000 {
			switch rnd.IntN(8) {
			case 0:
				at = rnd.Uint64N(1 << 26)
			case 1:
				at -= min(at, rnd.Uint64N(9))
			default:
				at += rnd.Uint64N(3)
			}
			got := n.Number(at)
			if was, ok := numbers[at]; ok && was != got {
				t.Fatalf("seed %d: region %d was %d and is %d", seed, at, was, got)
			}
			numbers[at] = got
		}
		var last, lastNumber uint64
		for i, region := range sortedKeys(numbers) {
			number := numbers[region]
			if i > 0 && number <= lastNumber && n.Ordered() {
				t.Fatalf("seed %d: region %d is %d and region %d is %d", seed, last, lastNumber, region, number)
			}
			last, lastNumber = region, number
		}
	}
}

// TestNumberingTellsNoDistance: what is numbered in a row stays in a row, and all
// gaps look the same.
func TestNumberingTellsNoDistance(t *testing.T) {
	number := func(regions ...uint64) (out []uint64) {
		var n recording.Numbering
		for _, r := range regions {
			out = append(out, n.Number(r))
		}
		return out
	}
	if diff := cmp.Diff(number(5, 6, 7, 10, 11, 900), number(77, 78, 79, 1<<30, 1<<30+1, 1<<40)); diff != "" {
		t.Errorf("numbers tell where regions are: %s", diff)
	}
	got := number(5, 6, 7, 900, 899)
	if got[1] != got[0]+1 || got[2] != got[1]+1 || got[4] != got[3]-1 {
		t.Errorf("adjacent regions are not: %v", got)
	}
}

func sortedKeys(m map[uint64]uint64) []uint64 {
	var keys []uint64
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestNumberingOfRealSpaces: what address spaces do leaves numbers in order.
func TestNumberingOfRealSpaces(t *testing.T) {
	const exe, heap, top = 0x55d0_0000_0000 / heat.RegionSize, 0x55d1_0000_0000 / heat.RegionSize, 0x7fff_0000_0000 / heat.RegionSize
	for name, next := range map[string]func(i uint64) []uint64{
		"a heap that grows":             func(i uint64) []uint64 { return []uint64{heap + i} },
		"a heap that grows by leaps":    func(i uint64) []uint64 { return []uint64{heap + 3*i} },
		"mappings made top down":        func(i uint64) []uint64 { return []uint64{top - i} },
		"with holes between them":       func(i uint64) []uint64 { return []uint64{top - 5*i} },
		"both":                          func(i uint64) []uint64 { return []uint64{heap + 2*i, top - 3*i} },
		"holes that are filled in turn": func(i uint64) []uint64 { return []uint64{heap + i/2 + i%2*1000} },
	} {
		t.Run(name, func(t *testing.T) {
			var n recording.Numbering
			n.Number(exe)
			n.Number(top + 10)
			for i := range uint64(10_000) {
				for _, region := range next(i) {
					n.Number(region)
				}
			}
			if !n.Ordered() {
				t.Error("numbers are not in order")
			}
		})
	}
}

// TestNumberingWithoutRoom: in an address space that has been filled in the worst
// order numbers are still each region's own, and spans lose nothing.
func TestNumberingWithoutRoom(t *testing.T) {
	var n recording.Numbering
	seen := map[uint64]bool{}
	lo, hi := uint64(0), uint64(1)<<40
	n.Number(lo)
	n.Number(hi)
	for hi-lo > 1 { // each between the last two
		mid := lo + (hi-lo)/2
		if lo = mid; mid%3 == 0 {
			lo, hi = 0, mid
		}
		k := n.Number(mid)
		if seen[k] || k >= 1<<43 {
			t.Fatalf("a region is %d", k)
		}
		seen[k] = true
		from, to := n.Span(mid*heat.RegionSize, (mid+1)*heat.RegionSize)
		if from > k*heat.RegionSize || to < (k+1)*heat.RegionSize {
			t.Fatalf("the span of region %d is [%#x, %#x)", k, from, to)
		}
	}
}

func TestSpan(t *testing.T) {
	const size = heat.RegionSize
	var n recording.Numbering
	a, b := n.Number(100), n.Number(200)
	for _, c := range []struct {
		name       string
		start, end uint64
		from, to   uint64
	}{
		{"within a region", 100*size + 5, 100*size + 9, a*size + 5, a*size + 9},
		{"all of a region", 100 * size, 101 * size, a * size, (a + 1) * size},
		{"from one into another", 100*size + 5, 200*size + 9, a*size + 5, b*size + 9},
		{"around both", 0, 900 * size, a * size, (b + 1) * size},
		{"up to a region", 0, 200 * size, a * size, (a + 1) * size},
		{"between", 101 * size, 200 * size, 0, 0},
		{"below", 0, 100 * size, 0, 0},
		{"above", 201 * size, 900 * size, 0, 0},
		{"nothing", 100 * size, 100 * size, 0, 0},
		{"backwards", 101 * size, 100 * size, 0, 0},
		{"everything", 0, ^uint64(0), a * size, (b + 1) * size},
	} {
		if from, to := n.Span(c.start, c.end); from != c.from || to != c.to {
			t.Errorf("%s: [%#x, %#x), want [%#x, %#x)", c.name, from, to, c.from, c.to)
		}
	}
	if from, to := (&recording.Numbering{}).Span(0, 9); from != to {
		t.Errorf("without any region: [%d, %d)", from, to)
	}
}

// FuzzReader reads anything, within bounded memory.
func FuzzReader(f *testing.F) {
	f.Add(encode(f, everything(), false))
	f.Add(encode(f, everything(), true))
	files, err := filepath.Glob("testdata/*.mglru")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := recording.NewReader(bytes.NewReader(data), "f")
		if err == nil {
			var ev recording.Event
			for err == nil {
				err = r.Next(&ev)
			}
		}
		if !errors.Is(err, io.EOF) && !strings.HasPrefix(err.Error(), "recording f: at byte ") {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20+1000*uint64(len(data)) {
			t.Fatalf("%d bytes made it allocate %d", len(data), n)
		}
	})
}

// FuzzEvents reads any content of a frame that is whole.
func FuzzEvents(f *testing.F) {
	for _, ev := range everything() {
		r, err := recording.NewReader(bytes.NewReader(encode(f, []recording.Event{ev}, true)), "f")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(recording.Raw(r))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || len(raw) > 1<<20 {
			return
		}
		var events []recording.Event
		got, err := decode(append(encode(t, nil, false), recording.Frame(raw)...))
		if err == nil {
			t.Fatal("no end")
		}
		// What was understood can be written, and is then the same.
		for _, ev := range got {
			events = append(events, ev)
			if ev.Kind == recording.End {
				break
			}
		}
		again, err := decode(encode(t, events, false))
		if err == nil || !cmp.Equal(events, again) {
			t.Fatalf("written and read again (%v):\n%s", err, cmp.Diff(events, again))
		}
	})
}
