package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestStopsThoughAServiceHangs: one that does not end keeps the exporter for some
// seconds only.
func TestStopsThoughAServiceHangs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	done := make(chan error, 1)
	go func() {
		done <- together(ctx, slog.New(slog.DiscardHandler),
			func(ctx context.Context) error { <-ctx.Done(); return nil },
			func(context.Context) error { <-release; return nil })
	}()
	cancel()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("error %v, want one that says that something hangs", err)
		}
	case <-time.After(time.Minute):
		t.Error("it has not ended after a minute")
	}
}
