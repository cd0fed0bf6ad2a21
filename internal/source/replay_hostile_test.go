package source

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/recording"
)

// drain plays all of a recording that nobody asks anything of, and returns why it ends.
func drain(t *testing.T, r *Replay) error {
	for {
		if _, _, err := r.Next(t.Context()); err != nil {
			return err
		}
	}
}

// TestHostileRecordings are small files that would take all memory, or overflow, and
// legal for a reader: each ends with one error that says where and which bound.
func TestHostileRecordings(t *testing.T) {
	many := func(n int, each func(i int) []recording.Event) []recording.Event {
		var all []recording.Event
		for i := range n {
			all = append(all, each(i)...)
		}
		return all
	}
	pass := func(inner ...recording.Event) []recording.Event {
		return append(append([]recording.Event{{Kind: recording.Pass, Text: "/a"}}, inner...), recording.Event{Kind: recording.Done})
	}
	unscanned := recording.Event{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Pages: 1 << 44}}
	for _, c := range []struct {
		name   string
		events []recording.Event
		want   string
	}{
		{"long paths of memcgs", many(maxMemcgs, func(i int) []recording.Event {
			return []recording.Event{{Kind: recording.Group, Inode: uint64(i), Text: fmt.Sprint(strings.Repeat("x", 4000), i)}}
		}), "the paths of memcgs have more than 16777216 bytes"},
		{"long paths of generations", append([]recording.Event{{Kind: recording.Generations}}, many(maxMemcgs, func(i int) []recording.Event {
			return []recording.Event{{Kind: recording.GenMemcg, Text: fmt.Sprint(strings.Repeat("x", 4000), i)}}
		})...), "the paths of generations have more than 16777216 bytes"},
		{"reasons", many(100_000, func(i int) []recording.Event {
			return []recording.Event{{Kind: recording.Skip, Record: heat.Record{Kind: heat.KindSkip, TGID: 1, Start: 4096, End: 8192, Reason: fmt.Sprint("reason", i)}}}
		}), "there are more than 64 reasons"},
		{"failures", many(1000, func(i int) []recording.Event {
			return pass(recording.Event{Kind: recording.Aged, Result: recording.Failed, Reason: fmt.Sprint("reason", i)})
		}), "there are more than 64 reasons"},
		{"a long reason", pass(recording.Event{Kind: recording.Aged, Result: recording.Failed, Reason: strings.Repeat("r", 2000)}), "makes no sense"},
		{"a long comm", pass(recording.Event{Kind: recording.Identity, Process: heat.Process{ProcessID: heat.ProcessID{TGID: 1}, Comm: strings.Repeat("r", 2000)}}), "makes no sense"},
		{"processes", many(3, func(i int) []recording.Event {
			return append([]recording.Event{{Kind: recording.Pass, Text: fmt.Sprint("/", i)}}, append(many(30_000, func(i int) []recording.Event {
				return []recording.Event{{Kind: recording.PID, TGID: i + 1}}
			}), recording.Event{Kind: recording.Done})...)
		}), "there are more than 65536 processes"},
		{"pages that overflow", pass(append([]recording.Event{{Kind: recording.Residency, TGID: 1}}, many(1<<14, func(int) []recording.Event {
			return []recording.Event{unscanned}
		})...)...), "one pass has more than 1152921504606846976 bytes of memory"},
		{"more pages than there can be", pass(recording.Event{Kind: recording.Residency, TGID: 1},
			recording.Event{Kind: recording.Unscanned, Unscanned: heat.UnscannedPages{Pages: 1 << 50}}), "makes no sense"},
		{"more bytes than there can be", pass(recording.Event{Kind: recording.Observed, TGID: 1},
			recording.Event{Kind: recording.Area, Area: heat.Area{Hot: 1 << 63, Warm: 1 << 63}}), "makes no sense"},
		{"swapped bytes", pass(recording.Event{Kind: recording.Residency, TGID: 1, Swapped: 1 << 60}), "makes no sense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := openReplay(t, recorded(t, append(c.events, recording.Event{Kind: recording.End})...), 0)
			r.sink = func([]heat.Record) {}
			err := drain(t, r)
			at := (*recording.Error)(nil)
			if errors.Is(err, io.EOF) || !errors.As(err, &at) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one error with its place and %q", err, c.want)
			}
		})
	}
}

// TestOrdinaryRecordingsAreWithinBounds: what comes and goes is not added up for ever.
func TestOrdinaryRecordingsAreWithinBounds(t *testing.T) {
	var events []recording.Event
	for i := range 20_000 {
		path := fmt.Sprint("/", strings.Repeat("x", 2000), i)
		events = append(events, recording.Event{Kind: recording.Group, Inode: 7, Text: path}, recording.Event{Kind: recording.Pass, Text: path})
		for pid := range 10 {
			events = append(events, recording.Event{Kind: recording.PID, TGID: pid + 1})
		}
		events = append(events, recording.Event{Kind: recording.Done}, recording.Event{Kind: recording.Ungroup, Text: path})
	}
	r := openReplay(t, recorded(t, append(events, recording.Event{Kind: recording.End})...), 0)
	if err := drain(t, r); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
