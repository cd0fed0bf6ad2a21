package process

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"mglru_exporter/internal/heat"
)

// A fixture is a /proc and /sys of our own making.
type fixture struct {
	t         testing.TB
	proc, sys string
}

// newFixture makes one with the zoneinfo of testdata/host.
func newFixture(t testing.TB, host string) *fixture {
	t.Helper()
	f := &fixture{t: t, proc: t.TempDir(), sys: t.TempDir()}
	zones, err := os.ReadFile(filepath.Join("testdata", host, "zoneinfo"))
	if err != nil {
		t.Fatal(err)
	}
	f.file("zoneinfo", string(zones))
	return f
}

// file writes a file in proc.
func (f *fixture) file(name, text string) { f.write(filepath.Join(f.proc, name), text) }

// write writes a file and makes the directories it needs.
func (f *fixture) write(path, text string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// block adds a memory block to a node.
func (f *fixture) block(node, block int) {
	f.write(filepath.Join(f.sys, fmt.Sprintf("devices/system/node/node%d/memory%d", node, block), "online"), "1\n")
}

// process makes a process that has memory, in dir of proc.
func (f *fixture) process(dir, maps string) {
	f.file(dir+"/stat", statLine("fixture", 'S', 1, 4096))
	f.file(dir+"/maps", maps)
	f.file(dir+"/pagemap", "")
}

// statLine returns the text of a stat file with start time 238651.
func statLine(comm string, state byte, threads, vsize int) string {
	return fmt.Sprintf("490 (%s) %c 452 452 10130 0 -1 4194368 60 0 0 0 0 0 -20 0 20 0 %d 0 238651 %d 477 18446744073709551615"+
		" 1 2 3 0 0 0 0 6 16384 0 0 0 17 0 0 0 0 0 0 4 5 6 7 8 9 10 0\n", comm, state, threads, vsize)
}

// entries writes 64-bit entries into a file of proc, from entry number at on.
// What is before stays a hole.
func (f *fixture) entries(name string, at uint64, entries ...uint64) {
	f.t.Helper()
	file, err := os.OpenFile(filepath.Join(f.proc, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	var b []byte
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, e)
	}
	if _, err := file.WriteAt(b, int64(at*8)); err != nil {
		f.t.Fatal(err)
	}
}

// end makes a pagemap as long as the address space up to a page.
func (f *fixture) end(name string, page uint64) {
	f.t.Helper()
	if err := os.Truncate(filepath.Join(f.proc, name), int64(page*8)); err != nil {
		f.t.Fatal(err)
	}
}

// reader returns a Reader of the fixture.
func (f *fixture) reader() *Reader {
	f.t.Helper()
	nodes, err := LoadNodeMap(f.proc, f.sys)
	if err != nil {
		f.t.Fatal(err)
	}
	return NewReader(NewFS(f.proc), f.sys, nodes)
}

// Entries of pagemap.
func anonPage(pfn uint64) uint64   { return pmPresent | pfn }
func filePage(pfn uint64) uint64   { return pmPresent | pmFile | pfn }
func swapped(typ, o uint64) uint64 { return pmSwap | o<<5 | typ }

// A piece is one resident page, in a form that is easily compared.
type piece struct {
	Page uint64
	Node int16
	Type string
}

// pieces lists the resident pages of res.
func pieces(res *heat.Residency) []piece {
	var out []piece
	for _, p := range res.Parts {
		for i := range heat.PagesPerRegion {
			if p.Pages.Has(i) {
				out = append(out, piece{p.Region*heat.PagesPerRegion + uint64(i), p.Node, p.Type.String()})
			}
		}
	}
	return out
}

// mapsLine returns a line of maps over pages [start, end).
func mapsLine(start, end uint64, perms, dev string, inode int, name string) string {
	return fmt.Sprintf("%08x-%08x %s 00000000 %s %s %*s\n", start*heat.PageSize, end*heat.PageSize, perms, dev,
		strconv.Itoa(inode), 20+len(name), name)
}
