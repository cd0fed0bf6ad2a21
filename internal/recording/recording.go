// Package recording is the file format of what a sampler was told: harvest,
// residency, processes and memcgs. docs/RECORDING.md describes it byte by byte.
package recording

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Version is the version of the format that this package writes. It reads all
// from 1 on. Version 1 has no mappings.
const Version = 2

// magic begins the first line of a file, which ends with the version.
const magic = "mglru_exporter recording "

const (
	// frameHead is the size of a frame's head: the lengths of what follows,
	// compressed and not, and a checksum of all that.
	frameHead = 12
	// maxRaw is the length of a frame's content, not compressed, at most; and
	// maxPacked that of the compressed one, which can be a little longer.
	maxRaw    = 1 << 20
	maxPacked = maxRaw + 1<<12
	// flushRaw is the length from which on a frame is written.
	flushRaw = 256 << 10
	// maxText is the length of the longest string, maxWord that of the longest name of
	// ours or the kernel's.
	maxText = 4096
	maxWord = 128
	// maxBytes is how much memory anything can have, as far as addresses of 57 bits
	// reach. maxCount bounds what is counted.
	maxBytes = 1 << 56
	maxCount = 1 << 48
	// maxWords is how many reasons a source can have.
	maxWords = 64
)

// A Header tells how a recording was made.
type Header struct {
	// Started is the time that all others are counted from.
	Started time.Time `json:"started"`
	// Program is what recorded, with its version.
	Program string `json:"program"`
	// Kernel is the kernel's release, Source and Granularity are those of the
	// source.
	Kernel      string `json:"kernel"`
	Source      string `json:"source"`
	Granularity string `json:"granularity"`
	// PassesPerWindow is how many passes a window has: residency is read, and
	// recorded, where one ends.
	PassesPerWindow int `json:"passes_per_window"`
	// Addresses tells whether regions have their true numbers. Without, they
	// keep their order and which are adjacent, but not where they are.
	Addresses bool `json:"addresses"`
	// Mappings tells whether residency has the processes' mappings.
	Mappings bool `json:"mappings"`
	// SkipReasons are the reasons that the source gives for skipping memory.
	SkipReasons []string `json:"skip_reasons"`
}

// check tells what is wrong with a header that was read.
func (h *Header) check() error {
	switch {
	case h.Started.IsZero():
		return errors.New("the header has no time of start")
	case h.PassesPerWindow < 1 || h.PassesPerWindow > 7:
		return fmt.Errorf("the header has %d passes a window", h.PassesPerWindow)
	case len(h.SkipReasons) > maxWords:
		return fmt.Errorf("the header has %d reasons for skips, at most %d are possible", len(h.SkipReasons), maxWords)
	}
	for _, w := range append([]string{h.Source, h.Granularity, h.Kernel, h.Program}, h.SkipReasons...) {
		if len(w) > maxWord {
			return fmt.Errorf("the header has a name of %d bytes, at most %d are possible", len(w), maxWord)
		}
	}
	return nil
}

func (h *Header) marshal() ([]byte, error) { return json.Marshal(h) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is over the lengths in a frame's head and the packed content.
func checksum(head, packed []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:8], castagnoli), castagnoli, packed)
}

func putHead(head []byte, packed, raw int) {
	binary.LittleEndian.PutUint32(head, uint32(packed))
	binary.LittleEndian.PutUint32(head[4:], uint32(raw))
}
