package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// conversation is a connection on which memcached says what it says.
type conversation struct {
	io.Reader
	bytes.Buffer
}

func (c *conversation) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func says(text string) *conversation { return &conversation{Reader: strings.NewReader(text)} }

func TestClient(t *testing.T) {
	conn := says("STORED\r\nSTORED\r\nVALUE key-0000000002 0 3\r\nabc\r\nVALUE key-0000000001 0 3\r\nabc\r\nEND\r\n")
	c := newClient(conn)
	if err := c.set([]int{1, 2}, []byte("abc")); err != nil {
		t.Error(err)
	}
	if err := c.get([]int{2, 1}, []byte("abc")); err != nil {
		t.Error(err)
	}
	want := "set key-0000000001 0 0 3\r\nabc\r\nset key-0000000002 0 0 3\r\nabc\r\nget key-0000000002 key-0000000001\r\n"
	if got := conn.String(); got != want {
		t.Errorf("want %q, said %q", want, got)
	}
}

func TestClientErrors(t *testing.T) {
	set := func(c *client) error { return c.set([]int{1}, []byte("abc")) }
	get := func(c *client) error { return c.get([]int{1}, []byte("abc")) }
	const value = "VALUE key-0000000001 0 3\r\n"
	for _, test := range []struct {
		name, says string
		do         func(*client) error
		want       string
	}{
		{"out of memory", "SERVER_ERROR out of memory storing object\r\n", set, `memcached answered "SERVER_ERROR out of memory storing object", not STORED`},
		{"closed", "", set, "memcached closed the connection"},
		{"half a line", "STOR", set, "memcached closed the connection"},
		{"a line without end", strings.Repeat("x", 1<<17), set, "bufio: buffer full"},
		{"evicted", "END\r\n", get, `memcached answered "END", not "VALUE key-0000000001 0 3"`},
		{"another size", "VALUE key-0000000001 0 99999999999\r\n", get, "99999999999"},
		{"another value", value + "abd\r\nEND\r\n", get, "key-0000000001 has another value than was set"},
		{"half a value", value + "ab", get, "unexpected EOF"},
		{"more", value + "abc\r\nVALUE key-0000000002 0 3\r\n", get, "not END"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(newClient(says(test.says))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %q, got %v", test.want, err)
			}
		})
	}
}

// TestPick holds the pattern to the shares of a normal distribution.
func TestPick(t *testing.T) {
	l := load{keys: 1000, deviation: 0.1}
	random := rand.New(rand.NewPCG(1, 2))
	within := map[int]int{} // deviations
	const n = 100_000
	for range n {
		key := l.pick(random)
		if key < 0 || key >= l.keys {
			t.Fatalf("key %d of %d", key, l.keys)
		}
		within[int(math.Abs(float64(key)+0.5-500)/100)]++
	}
	for d, want := range []float64{0.683, 0.272, 0.043} {
		if got := float64(within[d]) / n; math.Abs(got-want) > 0.005 {
			t.Errorf("within %d to %d deviations: %.3f of the keys, want %.3f", d, d+1, got, want)
		}
	}
	wide := load{keys: 10, deviation: 1}
	for range n {
		if key := wide.pick(random); key < 0 || key >= 10 {
			t.Fatalf("key %d of 10", key)
		}
	}
}

func TestCheck(t *testing.T) {
	good := load{keys: 10, size: 1000, rate: 1, deviation: 0.1, batch: 5}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for flag, spoil := range map[string]func(*load){
		"-keys":      func(l *load) { l.keys = 0 },
		"-size":      func(l *load) { l.size = 1 << 20 },
		"-populate":  func(l *load) { l.populate = -1 },
		"-lag":       func(l *load) { l.lag = -1 },
		"-rate":      func(l *load) { l.rate = 0 },
		"-deviation": func(l *load) { l.deviation = math.NaN() },
		"-batch":     func(l *load) { l.batch = 11 },
	} {
		l := good
		spoil(&l)
		if err := l.check(); err == nil || !strings.HasPrefix(err.Error(), flag+": ") {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}

// TestConnect runs the load until it reads at random, with a server that sees every
// key set once, and then read, in order.
func TestConnect(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var set, read []string
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer listener.Close()
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		c := newClient(conn)
		for {
			line, err := c.line()
			if err != nil {
				return
			}
			words := strings.Fields(line)
			if words[0] == "set" {
				set = append(set, words[1])
				if _, err := c.line(); err != nil {
					return
				}
				_, _ = c.out.WriteString("STORED\r\n")
			} else {
				read = append(read, words[1:]...)
				for _, key := range words[1:] {
					_, _ = c.out.WriteString("VALUE " + key + " 0 4\r\nabcd\r\n")
				}
				_, _ = c.out.WriteString("END\r\n")
				if len(read) > len(set) {
					cancel()
				}
			}
			if c.out.Flush() != nil {
				return
			}
		}
	}()
	var phases []string
	l := load{keys: 25, size: 4, populate: time.Millisecond, lag: time.Millisecond, rate: 1000, deviation: 0.1, batch: 10}
	if err := l.connect(ctx, socket, func(p string) { phases = append(phases, p) }); !errors.Is(err, context.Canceled) {
		t.Errorf("the load ended with %v", err)
	}
	<-served
	if len(phases) != 2 || len(set) != 25 || set[24] != name(24) || !slices.IsSorted(set) {
		t.Errorf("phases %q; set %q", phases, set)
	}
	if len(read) < 25 || !slices.Equal(read[:25], set) {
		t.Errorf("set %q, then read %q", set, read)
	}
}
