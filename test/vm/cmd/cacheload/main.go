// Command cacheload loads a memcached in the two phases of the heatmap RFC of
// 2022: it populates values, key after key, each read once a little later, and then
// reads keys in a Gaussian pattern about the middle one, for good. As memcached
// takes memory as values come, the order of keys is one of addresses.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// A load is what to do to a memcached.
type load struct {
	// keys is how many values there are, size how many bytes each has.
	keys, size int
	// populate is how long to take for putting them in, at least; lag is how much
	// later than that each is read for the first time.
	populate, lag time.Duration
	// rate is how many are then read in a second, at most; deviation is the
	// standard deviation of which, as a share of all keys.
	rate      int
	deviation float64
	// batch is how many keys a request has.
	batch int
}

func main() {
	var l load
	socket := flag.String("socket", "/tmp/memcached.sock", "memcached's `socket`")
	flag.IntVar(&l.keys, "keys", 160_000, "how many values")
	flag.IntVar(&l.size, "size", 1000, "`bytes` of each")
	flag.DurationVar(&l.populate, "populate", time.Minute, "how long to take for putting them in")
	flag.DurationVar(&l.lag, "lag", 10*time.Second, "how long after it was put in to read each for the first time")
	flag.IntVar(&l.rate, "rate", 6000, "how many to read in a second")
	flag.Float64Var(&l.deviation, "deviation", 0.1, "standard deviation of the keys that are read, as a `share` of all")
	flag.IntVar(&l.batch, "batch", 50, "keys of one request")
	flag.Parse()
	err := l.check()
	if err == nil {
		err = l.connect(context.Background(), *socket, func(phase string) { fmt.Println("cacheload:", phase) })
	}
	fmt.Fprintln(os.Stderr, "cacheload:", err)
	os.Exit(1)
}

// maxValue is the size of memcached's largest item, about.
const maxValue = 1 << 20

func (l load) check() error {
	switch {
	case l.keys < 1:
		return fmt.Errorf("-keys: %d is too few, at least 1", l.keys)
	case l.size < 1 || l.size > maxValue-1024:
		return fmt.Errorf("-size: %d is not from 1 to %d", l.size, maxValue-1024)
	case l.populate < 0:
		return fmt.Errorf("-populate: %s is no time", l.populate)
	case l.lag < 0:
		return fmt.Errorf("-lag: %s is no time", l.lag)
	case l.rate < 1:
		return fmt.Errorf("-rate: %d is too few, at least 1", l.rate)
	case !(l.deviation > 0 && l.deviation <= 1):
		return fmt.Errorf("-deviation: %g is not above 0 and at most 1", l.deviation)
	case l.batch < 1 || l.batch > l.keys:
		return fmt.Errorf("-batch: %d is not from 1 to %d, the number of keys", l.batch, l.keys)
	}
	return nil
}

// connect runs the load on the memcached at a socket, once it listens, until ctx
// ends or there is an error.
func (l load) connect(ctx context.Context, socket string, say func(phase string)) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	for waited := 0; err != nil && waited < 100; waited++ {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		conn, err = dialer.DialContext(ctx, "unix", socket)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends what waits for it
	if err := l.run(ctx, newClient(conn), say); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// run never returns nil.
func (l load) run(ctx context.Context, c *client, say func(phase string)) error {
	value := make([]byte, l.size)
	for i := range value {
		value[i] = 'a' + byte(i%26)
	}
	say(fmt.Sprintf("populating %d values of %d bytes, in order", l.keys, l.size))
	if err := l.sweep(ctx, c, value); err != nil {
		return err
	}
	say(fmt.Sprintf("reading about key %d in a Gaussian pattern, standard deviation %.0f", l.keys/2, l.deviation*float64(l.keys)))
	keys := make([]int, l.batch)
	random := rand.New(rand.NewPCG(1, 2)) // the same each time
	pace := newPace(float64(l.rate))
	for {
		for i := range keys {
			keys[i] = l.pick(random)
		}
		if err := c.get(keys, value); err != nil {
			return fmt.Errorf("get: %w", err)
		}
		if err := pace.wait(ctx, len(keys)); err != nil {
			return err
		}
	}
}

// sweep puts all values in and reads them, the lag behind.
func (l load) sweep(ctx context.Context, c *client, value []byte) error {
	rate := float64(l.keys) / max(l.populate, time.Millisecond).Seconds()
	lag := int(rate*l.lag.Seconds()) / l.batch * l.batch
	pace := newPace(rate)
	for at := 0; at < l.keys+lag; at += l.batch {
		if keys := l.next(at); len(keys) > 0 {
			if err := c.set(keys, value); err != nil {
				return fmt.Errorf("set: %w", err)
			}
		}
		if keys := l.next(at - lag); len(keys) > 0 {
			if err := c.get(keys, value); err != nil {
				return fmt.Errorf("get: %w", err)
			}
		}
		if err := pace.wait(ctx, l.batch); err != nil {
			return err
		}
	}
	return nil
}

// next returns the keys of the batch that begins with one, of those that there are.
func (l load) next(first int) []int {
	var keys []int
	for key := max(first, 0); key < min(first+l.batch, l.keys); key++ {
		keys = append(keys, key)
	}
	return keys
}

// pick returns a key from a normal distribution about the middle one, cut off at
// the first and the last.
func (l load) pick(random *rand.Rand) int {
	for {
		if key := (0.5 + l.deviation*random.NormFloat64()) * float64(l.keys); key >= 0 && key < float64(l.keys) {
			return int(key)
		}
	}
}

// A pace keeps something to a rate.
type pace struct {
	rate float64 // in a second
	due  time.Time
}

func newPace(rate float64) *pace { return &pace{rate: rate, due: time.Now()} }

// wait waits until n more are due. What could not keep the rate does not catch up.
func (p *pace) wait(ctx context.Context, n int) error {
	now := time.Now()
	p.due = p.due.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	if p.due.Before(now) {
		p.due = now
		return ctx.Err()
	}
	return sleep(ctx, p.due.Sub(now))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
