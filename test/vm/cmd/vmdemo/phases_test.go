package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"mglru_exporter/internal/api"
)

// A sketch is a heatmap of memcached as it should be, to be spoiled.
type sketch struct {
	windows, regions, filling int
	// order is the place in the address space of the nth region to be filled.
	order func(n int) int
	// heat is the share of a region's pages that each pass finds, while keys are
	// read, at a place from 0 to 1.
	heat func(at float64, window int) float64
}

func gaussian(at float64, _ int) float64 { return 0.5 * math.Exp(-math.Pow((at-0.5)/0.1, 2)/2) }

func (s sketch) heatmap() api.Heatmap {
	const passes, full = 4, 512
	var h api.Heatmap
	h.Rows = make([]api.Row, s.regions+1)
	for w := range s.windows {
		c := api.Column{
			Passes: passes, Accesses: make([]uint64, s.regions+1), Pages: make([]uint32, s.regions+1), Cold: make([]uint32, s.regions+1),
		}
		c.Pages[s.regions], c.Accesses[s.regions] = full, passes*full // the program
		for n := range s.regions {
			row, filled := s.order(n), 1+n*s.filling/s.regions
			heat := 0.0
			switch {
			case w < filled:
				continue
			case w == filled:
				c.Pages[row] = full // and unobserved
				continue
			case w == filled+1:
				heat = 0.25
			case w > s.filling+2:
				heat = s.heat(float64(row)/float64(s.regions), w)
			}
			c.Pages[row] = full
			c.Accesses[row] = uint64(heat * passes * full)
			c.Cold[row] = uint32((1 - heat) * full)
		}
		h.Columns = append(h.Columns, c)
	}
	return h
}

func TestShowsPhases(t *testing.T) {
	up := func(n int) int { return n }
	down := func(n int) int { return 79 - n }
	for _, test := range []struct {
		name string
		sketch
		want string
	}{
		{"upwards", sketch{40, 80, 15, up, gaussian}, ""},
		{"downwards", sketch{40, 80, 15, down, gaussian}, ""},
		{"nothing yet", sketch{0, 80, 15, up, gaussian}, "no window has ended"},
		{"filling", sketch{12, 80, 15, up, gaussian}, "too few"},
		{"just filled", sketch{25, 80, 15, up, gaussian}, "too few"},
		{"all at once", sketch{40, 80, 2, up, gaussian}, "too few"},
		{"in no order", sketch{40, 80, 15, func(n int) int { return n * 37 % 80 }, gaussian}, "no sweep"},
		{"read evenly", sketch{40, 80, 15, up, func(float64, int) float64 { return 0.3 }}, "no band"},
		{"read at an end", sketch{40, 80, 15, up, func(at float64, w int) float64 { return gaussian(at+0.5, w) }}, "no band"},
		{"not read", sketch{40, 80, 15, up, func(float64, int) float64 { return 0 }}, "no band"},
		{"read more and more", sketch{40, 80, 15, up, func(at float64, w int) float64 { return gaussian(at, w) * float64(w/35*2) }}, "have not settled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := showsPhases(test.heatmap())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
}

// TestShowsPhasesMissed has a window say nothing, as after a pass that could not walk.
func TestShowsPhasesMissed(t *testing.T) {
	h := sketch{40, 80, 15, func(n int) int { return n }, gaussian}.heatmap()
	for _, w := range []int{9, 37} {
		clear(h.Columns[w].Cold)
		clear(h.Columns[w].Accesses)
	}
	if err := showsPhases(h); err != nil {
		t.Error(err)
	}
}

// TestShowsPhasesColdStays has what is cold at the end be cold from the beginning.
func TestShowsPhasesColdStays(t *testing.T) {
	h := sketch{40, 80, 15, func(n int) int { return n }, gaussian}.heatmap()
	for w := range h.Columns {
		h.Columns[w].Cold = slices.Clone(h.Columns[39].Cold)
	}
	if err := showsPhases(h); err == nil || !strings.Contains(err.Error(), "have not grown") {
		t.Errorf("got %v", err)
	}
}
