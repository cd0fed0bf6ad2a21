package recording

import "bytes"

// Raw reads the next frame and returns its content.
func Raw(d *Reader) []byte {
	if err := d.frame(); err != nil {
		panic(err)
	}
	return bytes.Clone(d.raw)
}

// Ordered tells whether all numbers are in the order of addresses.
func (n *Numbering) Ordered() bool { return n.spare == 0 }

// Frame makes a frame of any content.
func Frame(raw []byte) []byte {
	var buf bytes.Buffer
	w, err := NewWriter(&buf, Header{})
	if err != nil {
		panic(err)
	}
	begin := buf.Len()
	w.raw = append(w.raw, raw...)
	if err := w.Flush(); err != nil {
		panic(err)
	}
	return buf.Bytes()[begin:]
}
