package main

import (
	"fmt"
	"slices"

	"mglru_exporter/internal/api"
)

// settled is how many windows of reading are looked at, twice: whether they show the
// band, and whether what is cold stays what it is.
const settled = 5

// showsPhases tells what a heatmap of memcached, with a row for each region and all
// windows, lacks of what cacheload does to it: that values are put in along the
// address space and read soon after, that accesses are then gathered about the
// middle, and that what is cold grows and settles. It goes by what windows say, and
// not by how many there are: a slow machine only takes longer.
func showsPhases(h api.Heatmap) error {
	last := len(h.Columns) - 1
	if last < 0 {
		return fmt.Errorf("no window has ended")
	}
	resident := func(column int) int { return sum(h.Columns[column].Pages) }
	full := 0 // the column in which all values are there
	for resident(full) < resident(last)*99/100 {
		full++
	}
	var values []int // rows of what was taken as values came, and a few of other data
	for row := range h.Rows {
		if h.Columns[0].Pages[row] == 0 && h.Columns[last].Pages[row] > 0 {
			values = append(values, row)
		}
	}
	if len(values) < 20 || full < 5 || full+2*settled > last {
		return fmt.Errorf("%d regions were filled in %d windows, %d windows are after that: too few", len(values), full, last-full)
	}
	if err := showsSweep(h, values); err != nil {
		return err
	}
	if err := showsBand(h.Columns[last-settled+1:], values); err != nil {
		return err
	}
	cold := func(from, to int) int { // the median over columns, as one may have missed a pass
		var pages []int
		for _, c := range h.Columns[from:to] {
			pages = append(pages, sum(c.Cold))
		}
		return median(pages)
	}
	first, filled := cold(0, full/2), cold(full/2, full+1)
	if filled < 2*first {
		return fmt.Errorf("cold pages have not grown: %d in the first half of the time of filling, %d in the second", first, filled)
	}
	before, now := cold(last-2*settled+1, last-settled+1), cold(last-settled+1, last+1)
	if change := max(now-before, before-now); change > resident(last)/10 {
		return fmt.Errorf("cold pages have not settled: %d of %d, and %d before", now, resident(last), before)
	}
	if now < resident(last)/10 || now > resident(last)*9/10 {
		return fmt.Errorf("%d pages of %d are cold", now, resident(last))
	}
	return nil
}

// showsSweep tells whether rows were accessed for the first time in the order of
// addresses, up or down.
func showsSweep(h api.Heatmap, rows []int) error {
	first := make([]int, len(rows))
	for i, row := range rows {
		first[i] = slices.IndexFunc(h.Columns, func(c api.Column) bool { return c.Accesses[row] > 0 })
		if first[i] < 0 {
			return fmt.Errorf("row %d has never been accessed", row)
		}
	}
	up, down := 0, 0
	for i, a := range first {
		for _, b := range first[i+1:] {
			switch {
			case a < b:
				up++
			case a > b:
				down++
			}
		}
	}
	if max(up, down) < 5*min(up, down) {
		return fmt.Errorf("of the pairs of rows %d were first accessed up the address space, and %d down: no sweep", up, down)
	}
	if windows := len(slices.Compact(slices.Sorted(slices.Values(first)))); windows < 5 {
		return fmt.Errorf("the sweep took %d windows: too few", windows)
	}
	return nil
}

// showsBand tells whether accesses are gathered about the middle row. Medians leave
// out the few rows that have other data than values.
func showsBand(columns []api.Column, rows []int) error {
	heat := make([]float64, len(rows))
	for i, row := range rows {
		var accesses, most float64
		for _, c := range columns {
			accesses += float64(c.Accesses[row])
			most += float64(c.Passes) * float64(c.Pages[row])
		}
		if most > 0 {
			heat[i] = accesses / most
		}
	}
	n := len(heat)
	middle := median(slices.Clone(heat[n*2/5 : n*3/5]))
	edges := median(slices.Concat(heat[:n/10], heat[n*9/10:]))
	if middle < 0.1 || middle < 5*edges {
		return fmt.Errorf("the heat of the middle is %.3f, that of the edges %.3f: no band", middle, edges)
	}
	return nil
}

func sum(pages []uint32) (total int) {
	for _, n := range pages {
		total += int(n)
	}
	return total
}

// median sorts what it is given.
func median[V int | float64](values []V) V {
	slices.Sort(values)
	return values[len(values)/2]
}
