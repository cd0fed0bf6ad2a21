package recording

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
)

// An Error says where a recording ceases to make sense. All events before that
// place have been read.
type Error struct {
	// File is the name that the reader was given, Offset that of the frame's
	// first byte, or of the first line.
	File   string
	Offset int64
	// Err is what is wrong.
	Err error
}

// Error names file, offset and cause.
func (e *Error) Error() string {
	return fmt.Sprintf("recording %s: at byte %d: %v", e.File, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrTruncated is the cause where a file ends early.
var ErrTruncated = errors.New("the file ends here, before the recording does")

// A Reader reads a recording. It needs some MiB of memory whatever the file.
type Reader struct {
	r       io.Reader
	file    string
	version int
	header  Header

	offset int64 // of the frame in raw
	next   int64 // of the one after it
	raw    []byte
	packed []byte
	flate  io.ReadCloser
	rest   []byte // of raw
	delta  delta
	bad    bool // something in the event under way made no sense
	err    error
}

// NewReader reads the head of a recording. The file's name is for errors.
func NewReader(r io.Reader, file string) (*Reader, error) {
	d := &Reader{r: r, file: file, flate: flate.NewReader(bytes.NewReader(nil))}
	if err := d.head(); err != nil {
		return nil, &Error{file, d.offset, err}
	}
	return d, nil
}

func (d *Reader) head() error {
	line := make([]byte, 0, len(magic)+8)
	for len(line) < cap(line) && !bytes.HasSuffix(line, []byte("\n")) {
		n, err := d.r.Read(line[len(line) : len(line)+1])
		line = line[:len(line)+n]
		if err != nil && n == 0 {
			if errors.Is(err, io.EOF) {
				break
			}
			return err
		}
	}
	text, whole := strings.CutSuffix(string(line), "\n")
	number, ok := strings.CutPrefix(text, magic)
	switch {
	case !ok && strings.HasPrefix(magic, text):
		return ErrTruncated
	case !ok:
		return errors.New("this is not a recording of mglru_exporter")
	case !whole:
		return ErrTruncated
	}
	var err error
	if d.version, err = strconv.Atoi(number); err != nil || d.version < 1 || d.version > Version {
		return fmt.Errorf("it is of version %.8q, this program reads up to version %d", number, Version)
	}
	d.next = int64(len(line))
	if err := d.frame(); err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrTruncated
		}
		return err
	}
	if err := json.Unmarshal(d.rest, &d.header); err != nil {
		return fmt.Errorf("the header is not understood: %w", err)
	}
	d.rest = nil
	return d.header.check()
}

// Header returns how the recording was made.
func (d *Reader) Header() Header { return d.header }

// Offset is where the frame of the last event begins.
func (d *Reader) Offset() int64 { return d.offset }

// Next reads an event. After End the error is io.EOF; else it is an *Error.
// Each further call returns the same error.
func (d *Reader) Next(ev *Event) error {
	if d.err != nil {
		return d.err
	}
	if err := d.event(ev); err != nil {
		if !errors.Is(err, io.EOF) {
			err = &Error{d.file, d.offset, err}
		}
		d.err = err
		return err
	}
	if ev.Kind == End {
		d.err = io.EOF
	}
	return nil
}

func (d *Reader) event(ev *Event) error {
	for len(d.rest) == 0 {
		switch err := d.frame(); {
		case errors.Is(err, io.EOF):
			return ErrTruncated
		case err != nil:
			return err
		}
	}
	ev.Kind = Kind(d.byte())
	if ev.Kind < 1 || ev.Kind > lastKind || ev.Kind > End && d.version < 2 {
		return fmt.Errorf("there is no event of kind %d", ev.Kind)
	}
	if d.fields(ev); d.bad {
		return fmt.Errorf("an event of kind %d makes no sense", ev.Kind)
	}
	return nil
}

// frame reads the next frame. The error is io.EOF where there is none.
func (d *Reader) frame() error {
	d.offset = d.next
	var head [frameHead]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		return cut(err)
	}
	packed, raw := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
	if packed > maxPacked || raw > maxRaw || raw == 0 {
		return fmt.Errorf("the frame is damaged: it says to have %d bytes, and %d without compression", packed, raw)
	}
	d.packed = grown(d.packed, int(packed))
	if _, err := io.ReadFull(d.r, d.packed); err != nil {
		if errors.Is(err, io.EOF) {
			return ErrTruncated
		}
		return cut(err)
	}
	if checksum(head[:], d.packed) != binary.LittleEndian.Uint32(head[8:]) {
		return errors.New("the frame is damaged: its checksum is wrong")
	}
	if err := d.flate.(flate.Resetter).Reset(bytes.NewReader(d.packed), nil); err != nil {
		return err
	}
	d.raw = grown(d.raw, int(raw))
	if _, err := io.ReadFull(d.flate, d.raw); err != nil {
		// Its words alone: io.EOF in it would read as the end of the recording.
		return errors.New("the frame is damaged: " + err.Error())
	}
	d.next += frameHead + int64(packed)
	d.rest, d.delta = d.raw, delta{}
	return nil
}

// cut says truncated for an end in the middle of something.
func cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

func (d *Reader) fields(ev *Event) {
	switch ev.Kind {
	case Group:
		ev.Inode = d.uint()
		ev.Text = d.text()
	case Ungroup, Generations, GenMemcg:
		ev.Text = d.text()
	case Walker, Unsure:
		ev.Text = d.word()
	case Discovered:
		d.at(ev)
		ev.Text = d.text()
	case Young, Skip, Walk:
		d.record(ev)
	case Pass:
		d.at(ev)
		ev.Text = d.text()
		ev.Result = d.result()
	case PID, Refused, LostBy:
		ev.TGID = d.tgid()
	case Identity:
		ev.Process = heat.Process{ProcessID: heat.ProcessID{TGID: d.tgid()}}
		if ev.Result = d.result(); ev.Result == OK {
			ev.Process.Start = d.uint()
			ev.Process.Image = d.uint()
			ev.Process.Comm = d.word()
		}
	case Residency, Observed:
		ev.TGID = d.tgid()
		ev.Result = d.result()
		ev.Swapped = d.most(maxBytes)
	case Mapping:
		d.mapping(ev)
	case Part:
		ev.Part.Node = d.node()
		ev.Part.Type = d.typ()
		ev.Part.Region = d.region()
		d.bitmap(&ev.Part.Pages)
	case Unscanned:
		ev.Unscanned = heat.UnscannedPages{Node: d.node(), Type: d.typ(), Pages: d.most(maxBytes / heat.PageSize)}
		if d.version > 1 {
			ev.Unscanned.Mapping = d.uint()
		}
	case Aged:
		ev.Result = d.result()
		ev.Reason = d.word()
		ev.Text = d.text()
		ev.Outcome = Outcome{Nodes: d.uint(), Lost: d.most(maxCount), CPU: d.duration(), Memory: d.most(maxBytes)}
	case Area:
		ev.Area = heat.Area{Node: int(d.node()), Type: d.typ(), Hot: d.most(maxBytes), Warm: d.most(maxBytes), Cold: d.most(maxBytes), Unobserved: d.most(maxBytes), Resident: d.most(maxBytes)}
	case GenNode:
		ev.Node = int(d.node())
	case Gen:
		ev.Gen = memcg.Generation{Seq: d.uint(), Age: d.duration(), AnonPages: d.most(maxBytes / heat.PageSize), FilePages: d.most(maxBytes / heat.PageSize)}
	case Clock, End:
		d.at(ev)
	}
}

func (d *Reader) mapping(ev *Event) {
	flags := d.byte()
	first := d.delta.page + d.int()
	n := d.uint()
	m := heat.Mapping{Offset: d.uint(), Name: d.delta.name, NoAccess: flags&mappingNoAccess != 0}
	if flags&mappingSameName == 0 {
		m.Name = d.text()
	}
	const pages = 1 << 52 // that 64 bits can address
	if flags >= mappingFlags || first < 0 || n == 0 || n >= pages || first >= pages-int64(n) {
		d.bad = true
		return
	}
	d.delta.page, d.delta.name = first+int64(n), m.Name
	m.Start, m.End = uint64(first)*heat.PageSize, uint64(d.delta.page)*heat.PageSize
	ev.Mapping = m
}

func (d *Reader) record(ev *Event) {
	r := &ev.Record
	*r = heat.Record{Kind: recordKinds[ev.Kind], TGID: d.tgid(), Node: int(d.node()), Other: d.byte() != 0}
	switch ev.Kind {
	case Young:
		r.Start = d.region() * heat.RegionSize
		r.End = r.Start + heat.RegionSize
		d.bitmap(&r.Anon)
		d.bitmap(&r.NotAnon)
	case Skip:
		r.Start, r.End = d.uint(), d.uint()
		r.Reason = d.word()
	}
}

var recordKinds = map[Kind]heat.Kind{Young: heat.KindYoung, Skip: heat.KindSkip, Walk: heat.KindWalk}

func (d *Reader) byte() byte {
	if len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *Reader) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	return skip(d, v, n)
}

func (d *Reader) int() int64 {
	v, n := binary.Varint(d.rest)
	return skip(d, v, n)
}

// duration is one of a century at most.
func (d *Reader) duration() time.Duration {
	v := time.Duration(d.int())
	if v < 0 || v > 100*365*24*time.Hour {
		d.bad = true
		return 0
	}
	return v
}

func skip[T uint64 | int64](d *Reader, v T, n int) T {
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *Reader) text() string { return d.textOf(maxText) }

// word is a text that is a name of ours or the kernel's: a reason, a walker, a comm.
func (d *Reader) word() string { return d.textOf(maxWord) }

// most is a number that is at most so large; others would overflow sums.
func (d *Reader) most(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.bad = true
		return 0
	}
	return v
}

func (d *Reader) textOf(most uint64) string {
	n := d.uint()
	if n > most || n > uint64(len(d.rest)) {
		d.bad = true
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *Reader) tgid() int {
	d.delta.tgid += d.int()
	if d.delta.tgid < 0 || d.delta.tgid > 1<<31-1 {
		d.bad = true
	}
	return int(d.delta.tgid)
}

// maxRegion keeps the addresses of a region within 64 bits.
const maxRegion = 1<<43 - 1

func (d *Reader) region() uint64 {
	d.delta.region += d.int()
	if d.delta.region < 0 || d.delta.region >= maxRegion {
		d.bad = true
	}
	return uint64(d.delta.region)
}

func (d *Reader) at(ev *Event) {
	d.delta.at += d.int()
	ev.At = time.Duration(d.delta.at)
	if ev.At < 0 {
		d.bad = true
	}
}

func (d *Reader) node() int16 {
	n := d.int()
	if n < -1 || n > 1023 {
		d.bad = true
	}
	return int16(n)
}

func (d *Reader) typ() heat.Type {
	t := heat.Type(d.byte())
	d.bad = d.bad || t >= heat.NumTypes
	return t
}

func (d *Reader) result() Result {
	r := Result(d.byte())
	d.bad = d.bad || r >= lastResult
	return r
}

func (d *Reader) bitmap(b *heat.Bitmap) {
	*b = heat.Bitmap{}
	some := d.byte()
	if some == 0 {
		return
	}
	full := d.byte()
	left := some &^ full
	if full&^some != 0 || len(d.rest) < 8*bits.OnesCount8(left) {
		d.bad = true
		return
	}
	for i := range b {
		switch bit := byte(1) << i; {
		case full&bit != 0:
			b[i] = ^uint64(0)
		case left&bit != 0:
			b[i] = binary.LittleEndian.Uint64(d.rest)
			d.rest = d.rest[8:]
		}
	}
}
