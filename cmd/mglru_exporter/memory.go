package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
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

// memoryRatio is the share of our memcg's limit that Go may use. Beside Go's memory the
// kernel charges BPF maps to the memcg: a ring of 16 MiB.
const memoryRatio = 0.85

// limitMemory makes Go collect garbage before our memcg reaches its limit, which
// limitOf returns. GOMEMLIMIT in
// the environment has precedence. Without a limit there is nothing to do.
func limitMemory(limitOf memlimit.Provider, log *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryRatio), memlimit.WithProvider(limitOf))
	switch {
	case errors.Is(err, memlimit.ErrNoLimit):
	case err != nil:
		log.Info("Memory limit of the cgroup not known", "err", err)
	case limit > 0 && limit < math.MaxInt64: // cgroup v1 has no word for none
		log.Info("Limited Go's memory", "bytes", limit)
	}
}

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
