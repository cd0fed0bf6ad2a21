package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// A client speaks memcached's text protocol (doc/protocol.txt in its source).
type client struct {
	in  *bufio.Reader
	out *bufio.Writer
	buf []byte
}

func newClient(conn io.ReadWriter) *client {
	return &client{in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10)}
}

// name is a key's, as long as any other's.
func name(key int) string { return fmt.Sprintf("key-%010d", key) }

// set puts the value in under keys.
func (c *client) set(keys []int, value []byte) error {
	for _, key := range keys {
		fmt.Fprintf(c.out, "set %s 0 0 %d\r\n", name(key), len(value))
		_, _ = c.out.Write(value)
		_, _ = c.out.WriteString("\r\n")
	}
	if err := c.out.Flush(); err != nil { // of any of the writes
		return err
	}
	for range keys {
		line, err := c.line()
		if err != nil {
			return err
		}
		if line != "STORED" {
			return fmt.Errorf("memcached answered %q, not STORED", line)
		}
	}
	return nil
}

// get reads keys and compares each with the value that it must have. It is an
// error if one of them is missing.
func (c *client) get(keys []int, want []byte) error {
	_, _ = c.out.WriteString("get")
	for _, key := range keys {
		_ = c.out.WriteByte(' ')
		_, _ = c.out.WriteString(name(key))
	}
	_, _ = c.out.WriteString("\r\n")
	if err := c.out.Flush(); err != nil {
		return err
	}
	size := strconv.Itoa(len(want))
	if c.buf == nil {
		c.buf = make([]byte, len(want)+2)
	}
	for _, key := range keys {
		line, err := c.line()
		if err != nil {
			return err
		}
		if head := "VALUE " + name(key) + " 0 " + size; line != head {
			return fmt.Errorf("memcached answered %q, not %q", line, head)
		}
		if _, err := io.ReadFull(c.in, c.buf); err != nil {
			return err
		}
		if !bytes.Equal(c.buf[:len(want)], want) || string(c.buf[len(want):]) != "\r\n" {
			return fmt.Errorf("%s has another value than was set", name(key))
		}
	}
	line, err := c.line()
	if err == nil && line != "END" {
		err = fmt.Errorf("memcached answered %q, not END", line)
	}
	return err
}

// line reads a line, without its end.
func (c *client) line() (string, error) {
	line, err := c.in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return "", errors.New("memcached closed the connection")
	}
	if err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(line, []byte("\r\n"))), nil
}
