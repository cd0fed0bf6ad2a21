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
		Source: "hooks", Granularity: "page", PassesPerWindow: 4, Mappings: true, SkipReasons: []string{"vma"},
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
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 4096, End: 8192, Name: "a\nb\xff"}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 8192, End: 1<<63 + 4096, Name: "a\nb\xff", NoAccess: true}},
		{Kind: recording.Mapping, Mapping: heat.Mapping{Start: 1<<63 + 8192, End: 1<<64 - 4096, Offset: 1 << 40, Name: strings.Repeat("/x", 2048)}},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 1 << 42, Node: -1, Type: heat.Shmem, Pages: bitmap(1, 511)}},
		{Kind: recording.Part, Part: heat.ResidentPart{Region: 0, Node: 63, Pages: bitmap(0, 512)}},
		{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Node: -1, Type: heat.File, Mapping: 8192, Pages: 1 << 40}},
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
	for k := recording.Kind(1); k <= recording.Mapping; k++ {
		if !seen[k] {
			t.Errorf("no event of kind %d is tested", k)
		}
	}
}

// TestFormat holds the format to what it was when it was first written: files of
// it are about.
func TestFormat(t *testing.T) {
	const file = "testdata/version2.mglru"
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
		t.Errorf("a file of version 2 (-want +got):\n%s", diff)
	}
}

// TestVersion1 reads a file from before there were mappings.
func TestVersion1(t *testing.T) {
	data, err := os.ReadFile("testdata/version1.mglru")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(data)
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var want []recording.Event
	for _, ev := range everything() {
		if ev.Kind != recording.Mapping {
			ev.Unscanned.Mapping = 0
			want = append(want, ev)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a file of version 1 (-want +got):\n%s", diff)
	}
	// What it has no word for it must not have.
	late := bytes.Replace(encode(t, []recording.Event{{Kind: recording.Mapping, Mapping: heat.Mapping{End: 4096}}}, false), []byte("recording 2"), []byte("recording 1"), 1)
	if _, err := decode(late); err == nil || !strings.Contains(err.Error(), "there is no event of kind 28") {
		t.Errorf("a mapping in version 1: %v", err)
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
		"a later version": {[]byte("mglru_exporter recording 3\n"), `at byte 0: it is of version "3", this program reads up to version 2`},
		"an earlier one":  {[]byte("mglru_exporter recording 0\n"), `at byte 0: it is of version "0", this program reads up to version 2`},
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
