// Command vmdemo boots a guest with a patched kernel, the exporter, two processes
// that use some of their memory and a memcached that is filled and then read, and
// forwards the exporter's port to this machine, where a Prometheus scrapes it,
// until it is interrupted.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/oklog/run"
)

// Where the exporter is, in the guest by the same port, and Prometheus.
const (
	exporterPort      = 9934
	exporterAddress   = "127.0.0.1:9934"
	exporterURL       = "http://" + exporterAddress
	prometheusAddress = "127.0.0.1:9090"
	prometheusURL     = "http://" + prometheusAddress
)

func main() {
	var d demo
	flag.StringVar(&d.exporter, "exporter", "bin/mglru_exporter", "the static `binary` to run in the guest")
	flag.StringVar(&d.kernel, "kernel", "", "the bzImage to boot (default: the patched kernel, built if need be)")
	pictures := flag.String("screenshots", "", "take pictures into this `directory`, and end")
	flag.Parse()
	d.meanwhile = announce
	if *pictures != "" {
		d.meanwhile = func(ctx context.Context) error { return screenshots(ctx, d.exporter, *pictures) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := d.run(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "vmdemo:", err)
		os.Exit(1)
	}
}

// A demo is what to boot, and what to do with it.
type demo struct {
	exporter, kernel string
	// meanwhile is called as the guest boots; when it returns the demo ends.
	meanwhile func(context.Context) error
}

// run leaves no process and no file. It returns what ended the demo.
func (d demo) run(ctx context.Context) error {
	if err := portsAreFree(ctx); err != nil {
		return err
	}
	prometheus, err := findPrometheus()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vmdemo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	guest, err := newGuest(ctx, d.exporter, d.kernel, dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts run.Group
	for _, part := range []func() error{
		func() error { return runGuest(ctx, guest) },
		func() error { return runPrometheus(ctx, prometheus, dir) },
		func() error { return d.meanwhile(ctx) },
	} {
		parts.Add(part, func(error) { cancel() })
	}
	fmt.Println("booting the guest")
	return parts.Run() // waits for all of them
}

// portsAreFree says who is in the way before anything is built.
func portsAreFree(ctx context.Context) error {
	for _, of := range []struct{ who, address string }{{"the exporter", exporterAddress}, {"Prometheus", prometheusAddress}} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", of.address)
		if err != nil {
			return fmt.Errorf("the demo needs %s for %s: %w", of.address, of.who, err)
		}
		l.Close()
	}
	return nil
}

// announce prints the URLs once the exporter answers, and returns when ctx ends.
func announce(ctx context.Context) error {
	err := until(ctx, "the exporter", func(ctx context.Context) error {
		_, err := get(ctx, exporterURL+"/-/ready")
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf(`
  %[1]s/metrics
  %[1]s/heatmap
  %[2]s/graph?g0.expr=mglru_cold_bytes%%7Bcomm%%3D%%22memcached%%22%%7D&g0.tab=0&g0.range_input=10m
  bin/mglru_exporter top

Ctrl-C ends it. memcached is filled for a minute, and then read about the middle of its
keys. What shop and cache use is known after two windows, in about a minute:

  curl -s %[1]s/metrics | grep ^mglru_hot_bytes

`, exporterURL, prometheusURL)
	<-ctx.Done()
	return ctx.Err()
}
