package recording

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"mglru_exporter/internal/heat"
)

// A Writer writes a recording. It is not safe for concurrent use.
type Writer struct {
	w      io.Writer
	raw    []byte
	packed bytes.Buffer
	flate  *flate.Writer
	delta  delta
	n      int64
	err    error
}

// A delta is what numbers are relative to. It begins anew with each frame, so
// that a frame can be read by itself.
type delta struct {
	tgid   int64
	region int64
	at     int64
	// page is the one after the last mapping, and name that mapping's.
	page int64
	name string
}

// NewWriter begins a recording.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	e := &Writer{w: w}
	var err error
	// The source waits while records are written: the best compression takes
	// six times as long, for files that are a sixth smaller.
	if e.flate, err = flate.NewWriter(&e.packed, flate.BestSpeed); err != nil {
		return nil, err
	}
	text, err := h.marshal()
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("%s%d\n", magic, Version)
	if _, err := io.WriteString(w, line); err != nil {
		return nil, err
	}
	e.n = int64(len(line))
	e.raw = append(e.raw, text...)
	return e, e.Flush()
}

// Size is how many bytes have been written.
func (e *Writer) Size() int64 { return e.n }

// Write adds an event. The error is that of an earlier write, if there is one:
// after it nothing more is written.
func (e *Writer) Write(ev *Event) error {
	if e.err != nil {
		return e.err
	}
	e.append(ev)
	if len(e.raw) >= flushRaw {
		return e.Flush()
	}
	return nil
}

// Flush writes what there is as a frame.
func (e *Writer) Flush() error {
	if e.err == nil && len(e.raw) > 0 {
		e.err = e.flush()
		e.raw, e.delta = e.raw[:0], delta{}
	}
	return e.err
}

func (e *Writer) flush() error {
	e.packed.Reset()
	var head [frameHead]byte
	e.packed.Write(head[:])
	e.flate.Reset(&e.packed)
	if _, err := e.flate.Write(e.raw); err != nil {
		return err
	}
	if err := e.flate.Close(); err != nil {
		return err
	}
	frame := e.packed.Bytes()
	putHead(frame, len(frame)-frameHead, len(e.raw))
	binary.LittleEndian.PutUint32(frame[8:], checksum(frame, frame[frameHead:]))
	n, err := e.w.Write(frame)
	e.n += int64(n)
	return err
}

func (e *Writer) append(ev *Event) {
	e.raw = append(e.raw, byte(ev.Kind))
	switch ev.Kind {
	case Group:
		e.uint(ev.Inode)
		e.text(ev.Text)
	case Ungroup, Walker, Unsure, Generations, GenMemcg:
		e.text(ev.Text)
	case Discovered:
		e.at(ev)
		e.text(ev.Text)
	case Young, Skip, Walk:
		e.record(ev)
	case Pass:
		e.at(ev)
		e.text(ev.Text)
		e.raw = append(e.raw, byte(ev.Result))
	case PID, Refused, LostBy:
		e.tgid(ev.TGID)
	case Identity:
		e.tgid(ev.Process.TGID)
		e.raw = append(e.raw, byte(ev.Result))
		if ev.Result == OK {
			e.uint(ev.Process.Start)
			e.uint(ev.Process.Image)
			e.text(ev.Process.Comm)
		}
	case Residency, Observed:
		e.tgid(ev.TGID)
		e.raw = append(e.raw, byte(ev.Result))
		e.uint(ev.Swapped)
	case Mapping:
		e.mapping(&ev.Mapping)
	case Part:
		e.int(int64(ev.Part.Node))
		e.raw = append(e.raw, byte(ev.Part.Type))
		e.region(ev.Part.Region)
		e.bitmap(&ev.Part.Pages)
	case Unscanned:
		e.int(int64(ev.Unscanned.Node))
		e.raw = append(e.raw, byte(ev.Unscanned.Type))
		e.uint(ev.Unscanned.Pages)
		e.uint(ev.Unscanned.Mapping)
	case Aged:
		e.raw = append(e.raw, byte(ev.Result))
		e.text(ev.Reason)
		e.text(ev.Text)
		e.uint(ev.Outcome.Nodes)
		e.uint(ev.Outcome.Lost)
		e.int(int64(ev.Outcome.CPU))
		e.uint(ev.Outcome.Memory)
	case Area:
		a := &ev.Area
		e.int(int64(a.Node))
		e.raw = append(e.raw, byte(a.Type))
		for _, bytes := range []uint64{a.Hot, a.Warm, a.Cold, a.Unobserved, a.Resident} {
			e.uint(bytes)
		}
	case GenNode:
		e.int(int64(ev.Node))
	case Gen:
		e.uint(ev.Gen.Seq)
		e.int(int64(ev.Gen.Age))
		e.uint(ev.Gen.AnonPages)
		e.uint(ev.Gen.FilePages)
	case Clock, End:
		e.at(ev)
	}
}

// Flags of a mapping.
const (
	mappingNoAccess = 1 << iota
	mappingSameName // as that of the mapping before it in the frame
	mappingFlags
)

func (e *Writer) mapping(m *heat.Mapping) {
	name := m.Name[:min(len(m.Name), maxText)]
	var flags byte
	if m.NoAccess {
		flags |= mappingNoAccess
	}
	if name == e.delta.name {
		flags |= mappingSameName
	}
	e.raw = append(e.raw, flags)
	first, after := int64(m.Start/heat.PageSize), int64(m.End/heat.PageSize)
	e.int(first - e.delta.page)
	e.uint(uint64(after - first))
	e.uint(m.Offset)
	if flags&mappingSameName == 0 {
		e.text(name)
	}
	e.delta.page, e.delta.name = after, name
}

func (e *Writer) record(ev *Event) {
	r := &ev.Record
	e.tgid(r.TGID)
	e.int(int64(r.Node))
	other := byte(0)
	if r.Other {
		other = 1
	}
	e.raw = append(e.raw, other)
	switch ev.Kind {
	case Young:
		e.region(r.Start / heat.RegionSize)
		e.bitmap(&r.Anon)
		e.bitmap(&r.NotAnon)
	case Skip:
		e.uint(r.Start)
		e.uint(r.End)
		e.text(r.Reason)
	}
}

func (e *Writer) uint(v uint64) { e.raw = binary.AppendUvarint(e.raw, v) }
func (e *Writer) int(v int64)   { e.raw = binary.AppendVarint(e.raw, v) }

func (e *Writer) text(s string) {
	s = s[:min(len(s), maxText)]
	e.uint(uint64(len(s)))
	e.raw = append(e.raw, s...)
}

func (e *Writer) tgid(tgid int) {
	e.int(int64(tgid) - e.delta.tgid)
	e.delta.tgid = int64(tgid)
}

func (e *Writer) region(region uint64) {
	e.int(int64(region) - e.delta.region)
	e.delta.region = int64(region)
}

func (e *Writer) at(ev *Event) {
	e.int(int64(ev.At) - e.delta.at)
	e.delta.at = int64(ev.At)
}

// bitmap writes a byte that has a bit for each word that is not 0, unless all
// are, a byte for each word that is all ones, and the words that are neither.
func (e *Writer) bitmap(b *heat.Bitmap) {
	var some, full byte
	for i, w := range b {
		if w != 0 {
			some |= 1 << i
		}
		if w == ^uint64(0) {
			full |= 1 << i
		}
	}
	e.raw = append(e.raw, some)
	if some == 0 {
		return
	}
	e.raw = append(e.raw, full)
	for left := some &^ full; left != 0; left &= left - 1 {
		e.raw = binary.LittleEndian.AppendUint64(e.raw, b[bits.TrailingZeros8(left)])
	}
}
