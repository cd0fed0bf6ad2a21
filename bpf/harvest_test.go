package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

// program is one whose missed calls can be read, or not.
type program struct {
	missed uint64
	err    error
}

func (p program) Stats() (*ebpf.ProgramStats, error) {
	if p.err != nil {
		return nil, p.err
	}
	return &ebpf.ProgramStats{RecursionMisses: p.missed}, nil
}

func TestMissedCalls(t *testing.T) {
	denied := errors.New("denied")
	seen := map[string]uint64{}
	for _, step := range []struct {
		name     string
		programs map[string]program
		want     uint64
		err      error
	}{
		{"those before the first pass count", map[string]program{"a": {missed: 3}, "b": {missed: 4}}, 7, nil},
		{"none", map[string]program{"a": {missed: 3}, "b": {missed: 4}}, 0, nil},
		{"one program hides no other", map[string]program{"a": {err: denied}, "b": {missed: 5}}, 1, denied},
		{"what could not be read counts once it can", map[string]program{"a": {missed: 10}, "b": {missed: 5}}, 7, nil},
		{"all hidden", map[string]program{"a": {err: denied}, "b": {err: denied}}, 0, denied},
		{"nothing comes twice", map[string]program{"a": {missed: 10}, "b": {missed: 5}}, 0, nil},
		{"a count that falls is none below 0", map[string]program{"a": {missed: 9}, "b": {missed: 5}}, 0, nil},
		{"and does not hide another's", map[string]program{"a": {missed: 1}, "b": {missed: 7}}, 2, nil},
		{"it counts from there", map[string]program{"a": {missed: 2}, "b": {missed: 7}}, 1, nil},
	} {
		got, err := newlyMissed(seen, step.programs)
		if got != step.want || !errors.Is(err, step.err) {
			t.Errorf("%s: %d missed calls, error %v; want %d, %v", step.name, got, err, step.want, step.err)
		}
	}
}

// tape is a ring that has these samples in it, and then is closed.
type tape [][]byte

func (r *tape) ReadInto(to *ringbuf.Record) error {
	if len(*r) == 0 {
		return ringbuf.ErrClosed
	}
	to.RawSample, *r = (*r)[0], (*r)[1:]
	to.Remaining = len(*r)
	return nil
}

func (r *tape) Flush() error { return nil }
func (r *tape) Close() error { return nil }

// TestUndecodableRecordsAreLost reads a ring in which some records make no sense:
// the others come, and of those a pass hears by the time that it has its mark.
func TestUndecodableRecordsAreLost(t *testing.T) {
	var got []heat.Record
	h := newHarvest(nil, func(records []heat.Record) { got = append(got, records...) })
	h.coll = &ebpf.Collection{}
	h.reader = &tape{
		header(kindWalk, 1, 0, 0, 0, 0), {1, 2, 3}, header(kindRegion, 1, 0, 0, 0, 0), header(99, 1, 0, 0, 0, 0),
		header(kindWalk, 2, 0, 0, 0, 0), header(kindMark, 0, 0, 0, 7, 0),
	}
	h.read()
	if cookie := <-h.marks; cookie != 7 {
		t.Errorf("mark %d, want 7", cookie)
	}
	if diff := cmp.Diff([]heat.Record{{Kind: heat.KindWalk, TGID: 1}, {Kind: heat.KindWalk, TGID: 2}}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	for _, want := range []uint64{3, 0} {
		if n, err := h.newlyUnknown(); n != want || err != nil {
			t.Errorf("%d records are lost, error %v; want %d", n, err, want)
		}
	}
}
