package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is how much garbage there may be before it is collected, in percent
	// of the memory in use. Nearly all memory in use has no pointers, so that
	// collecting often costs little, and the exporter needs half the memory.
	gcPercent = 10
	// leastGarbage is how much garbage there may always be. Watching many small memcgs
	// uses little memory and makes much garbage: 10 % of it would be collected several
	// times a second.
	leastGarbage = 4 << 20
	// tuneEvery is how often the two are weighed against each other.
	tuneEvery = 10 * time.Second
)

// tuneGC keeps the garbage collector at gcPercent, but never below leastGarbage, until
// the context ends. GOGC in the environment has precedence.
func tuneGC(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return nil
	}
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	tick := time.NewTicker(tuneEvery)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for percent := gcPercent; ; {
		metrics.Read(live)
		if p := percentFor(live[0].Value.Uint64()); p != percent {
			debug.SetGCPercent(p)
			percent = p
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// percentFor is the value of GOGC for so many bytes that are in use.
func percentFor(live uint64) int {
	const most = 100 // Go's own default
	return int(min(max(gcPercent, 100*leastGarbage/max(live, 1)), most))
}
