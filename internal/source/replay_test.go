package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"mglru_exporter/internal/recording"
)

// recorded writes events to a file.
func recorded(t *testing.T, events ...recording.Event) string {
	t.Helper()
	var buf bytes.Buffer
	w, err := recording.NewWriter(&buf, recording.Header{Started: time.Unix(1_700_000_000, 0), Granularity: "page", PassesPerWindow: 4})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.mglru")
	if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func openReplay(t *testing.T, file string, speed float64) *Replay {
	t.Helper()
	r, err := OpenReplay(file, speed, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestReplayKeepsTime: the first step comes at once, the others as long after it
// as they did, divided by the speed.
func TestReplayKeepsTime(t *testing.T) {
	file := recorded(t,
		recording.Event{Kind: recording.Discovered, At: time.Minute},
		recording.Event{Kind: recording.Discovered, At: time.Minute + 10*time.Second},
		recording.Event{Kind: recording.Pass, At: time.Minute + 15*time.Second, Text: "/a"},
		recording.Event{Kind: recording.Done},
		recording.Event{Kind: recording.End, At: time.Hour})
	for _, c := range []struct{ speed, second, third float64 }{{0, 0, 0}, {1, 10, 15}, {2.5, 4, 6}, {0.1, 100, 150}} {
		r := openReplay(t, file, c.speed)
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			for i, want := range []float64{0, c.second, c.third} {
				_, at, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Since(begin).Seconds(); got < want-1e-6 || got > want+1e-6 {
					t.Errorf("speed %v: step %d comes after %v s, want %v", c.speed, i, got, want)
				}
				if recorded := at.Unix() - 1_700_000_000; recorded != []int64{60, 70, 75}[i] {
					t.Errorf("step %d was at %d", i, recorded)
				}
			}
			if _, _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

func TestReplayCanBeInterrupted(t *testing.T) {
	file := recorded(t, recording.Event{Kind: recording.Discovered}, recording.Event{Kind: recording.Discovered, At: time.Hour})
	r := openReplay(t, file, 1)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		for range 2 {
			_, _, err := r.Next(ctx)
			if ctx.Err() != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("interrupted: %v", err)
			}
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("it took %v to stop", d)
		}
	})
}

// TestPassThatWasCutIsNotPlayed: nothing of it may be judged.
func TestPassThatWasCutIsNotPlayed(t *testing.T) {
	pass := []recording.Event{{Kind: recording.Group, Text: "/a"}, {Kind: recording.Discovered}, {Kind: recording.Pass, Text: "/a"}, {Kind: recording.Aging}}
	for name, c := range map[string]struct {
		last recording.Event
		want error
	}{
		"by the recorder":           {recording.Event{Kind: recording.End}, io.EOF},
		"with the rest of the file": {recording.Event{Kind: recording.Aged}, recording.ErrTruncated},
	} {
		r := openReplay(t, recorded(t, append(pass, c.last)...), 0)
		if path, _, err := r.Next(t.Context()); path != "" || err != nil {
			t.Fatalf("%s: step %q, %v", name, path, err)
		}
		if path, _, err := r.Next(t.Context()); path != "" || !errors.Is(err, c.want) {
			t.Errorf("%s: step %q, %v, want %v", name, path, err, c.want)
		}
	}
}
