package process

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"strconv"
)

// readDirInts returns the entries of a directory that are numbers.
func readDirInts(path string) ([]int, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, pathError("read", path, err)
	}
	var ints []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n >= 0 {
			ints = append(ints, n)
		}
	}
	return ints, nil
}

// cutLine returns the first line of b, without its newline, and the rest.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return line, rest
}

// cutField returns the first run of non-blanks of a line, and what follows it.
func cutField(b []byte) (field, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' {
		j++
	}
	return b[i:j], b[j:]
}

// parseUint parses an unsigned decimal number that is all of b. Signs, blanks
// and overflow are refused.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// parseHex parses a hexadecimal number without prefix that is all of b.
func parseHex(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 16 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 {
			if d = uint64(c|0x20) - 'a'; d > 5 {
				return 0, false
			}
			d += 10
		}
		n = n<<4 | d
	}
	return n, true
}
