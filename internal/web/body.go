package web

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/prometheus/client_golang/prometheus"
)

// maxBodies is how many encoded forms of one snapshot are kept: that which Prometheus
// asks for, and that of somebody who looks.
const maxBodies = 2

// bodies keeps encoded forms of the last Series. Its zero value has none.
type bodies struct {
	mu     sync.Mutex // one encodes, the others wait for what it makes
	series Series
	kept   []*body
}

// A body is one encoded form, with what gzip's end needs. A nil one is empty.
type body struct {
	format expfmt.FormatType
	zip    bool
	data   []byte // if zip, a deflate stream without its end
	crc    uint32 // if zip, of what was compressed
	size   uint32
}

// get returns the encoded form, made by whoever asks first.
func (b *bodies) get(s Series, format expfmt.Format, zip bool, gather func(prometheus.Gatherer) []*dto.MetricFamily) *body {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s != b.series {
		b.series, b.kept = s, nil
	}
	kind := format.FormatType()
	for _, k := range b.kept {
		if k.format == kind && k.zip == zip {
			return k
		}
	}
	made := &body{format: kind, zip: zip}
	made.fill(func(w io.Writer) {
		switch kind {
		case expfmt.TypeTextPlain, expfmt.TypeOpenMetrics:
			_ = s.WriteText(w, kind == expfmt.TypeOpenMetrics) // to memory
		default:
			// Encoding to memory fails for families that a registry would refuse.
			_ = encode(w, format, gather(s), false)
		}
	})
	if len(b.kept) == maxBodies {
		b.kept = slices.Delete(b.kept, 0, 1)
	}
	b.kept = append(b.kept, made)
	return made
}

// fill has something write the body's content, and compresses it on the way.
func (b *body) fill(write func(w io.Writer)) {
	var out bytes.Buffer
	if !b.zip {
		write(&out)
		b.data = out.Bytes()
		return
	}
	z, _ := flate.NewWriter(&out, flate.BestSpeed) // the level is valid
	write(io.MultiWriter(z, (*summed)(b)))
	_ = z.Flush() // to memory; more is to follow
	b.data = out.Bytes()
}

// summed is a body that sums up what is written to it for gzip's end.
type summed body

// Write implements io.Writer.
func (b *summed) Write(p []byte) (int, error) {
	b.crc = crc32.Update(b.crc, crc32.IEEETable, p)
	b.size += uint32(len(p))
	return len(p), nil
}

// gzipHeader is that of a stream without a name or a time.
const gzipHeader = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"

// writeTo writes the body and what is to follow it, as one gzip stream if zip.
func (b *body) writeTo(w io.Writer, more []byte, zip bool) error {
	if b == nil {
		b = &body{zip: zip}
	}
	if !zip {
		_, err := w.Write(b.data)
		if err == nil {
			_, err = w.Write(more)
		}
		return err
	}
	var end bytes.Buffer
	z, _ := flate.NewWriter(&end, flate.BestSpeed) // the level is valid
	_, _ = z.Write(more)                           // to memory
	_ = z.Close()
	var trailer [8]byte
	binary.LittleEndian.PutUint32(trailer[:4], crc32.Update(b.crc, crc32.IEEETable, more))
	binary.LittleEndian.PutUint32(trailer[4:], b.size+uint32(len(more)))
	end.Write(trailer[:])
	for _, part := range [][]byte{[]byte(gzipHeader), b.data, end.Bytes()} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}
