package config

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// units are those of sizes, largest first: powers of 1024 only, so that nobody
// has to wonder.
func units() []string { return []string{"EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"} }

// parseSize reads a number of bytes, with or without unit: 0, 4096, 64KiB,
// 1.5GiB. The result is a whole number of bytes that fits in 63 bits.
func parseSize(s string) (uint64, error) {
	number, shift := s, uint(0)
	for i, u := range units() {
		if n, ok := strings.CutSuffix(s, u); ok {
			number, shift = strings.TrimRight(n, " "), uint(6-i)*10
			break
		}
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	if !digits(whole) || dotted && (!digits(fraction) || shift == 0) || len(number) > 40 {
		return 0, errors.New("is not a size")
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errors.New("is not a size")
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0, errors.New("is too large")
	}
	return n.Uint64(), nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// formatSize writes a size with the largest unit that divides it.
func formatSize(n uint64) string {
	for i, u := range units() {
		if unit := uint64(1) << (uint(6-i) * 10); n >= unit && n%unit == 0 {
			return strconv.FormatUint(n/unit, 10) + u
		}
	}
	return "0B"
}

func humanDuration(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// printable returns a key or value fit for a message on one line.
func printable(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	if q := strconv.Quote(s); s == "" || q != `"`+s+`"` {
		return q
	}
	return s
}

// suggest returns the field that name was meant to be, "" if there is none like
// it: a typing error away, or of that name in one of the fields' own mappings.
func suggest(name string, fields []field) string {
	best, bestDist := "", max(1, len(name)/3)+1
	for _, f := range fields {
		if d := distance(strings.ToLower(strings.ReplaceAll(name, "-", "_")), f.name); d < bestDist {
			best, bestDist = f.name, d
		}
	}
	if best != "" {
		return best
	}
	for _, f := range fields {
		for _, s := range f.sub {
			if s.name == name {
				return f.name + "." + s.name
			}
		}
	}
	return ""
}

// distance is how many letters have to be typed, deleted, changed or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
