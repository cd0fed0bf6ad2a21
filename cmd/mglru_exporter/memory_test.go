package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

func TestGoStaysBelowTheLimitOfItsMemcg(t *testing.T) {
	if limit, ok := os.LookupEnv("GOMEMLIMIT"); ok {
		t.Skip("NOT TESTED: GOMEMLIMIT is set to ", limit)
	}
	none := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(none)
	for _, tc := range []struct {
		name  string
		limit uint64
		err   error
		want  int64
	}{
		{"no limit", 0, memlimit.ErrNoLimit, none},
		{"not known", 0, errors.New("no cgroup"), none},
		{"512 MiB", 512 << 20, nil, 456340275},
	} {
		limitMemory(func() (uint64, error) { return tc.limit, tc.err }, slog.New(slog.DiscardHandler))
		if got := debug.SetMemoryLimit(-1); got != tc.want {
			t.Errorf("%s: Go may use %d bytes, want %d", tc.name, got, tc.want)
		}
	}
}

func TestGarbageIsTenPercentOrFourMiB(t *testing.T) {
	for _, tc := range []struct {
		live uint64
		want int
	}{
		{0, 100}, {1 << 20, 100}, {4 << 20, 100}, {10 << 20, 40}, {20 << 20, 20}, {40 << 20, 10}, {1 << 40, 10},
	} {
		if got := percentFor(tc.live); got != tc.want {
			t.Errorf("with %d bytes in use the collector is set to %d %%, want %d", tc.live, got, tc.want)
		}
	}
}
