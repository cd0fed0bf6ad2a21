package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mglru_exporter/test/vm"
)

//go:embed demo.sh
var demoScript []byte

//go:embed demo.yml
var demoConfig []byte

// newGuest returns the guest of a demo. What is built for it is in dir; bzImage
// may be empty, for the patched kernel.
func newGuest(ctx context.Context, exporter, bzImage, dir string) (*vm.Guest, error) {
	memcached := filepath.Join(vm.CacheDir(), "tools/memcached/usr")
	if _, err := os.Stat(memcached); err != nil {
		return nil, fmt.Errorf("there is no memcached, make deps puts it there: %w", err)
	}
	if bzImage == "" {
		kernel, err := vm.BuildKernel(ctx, "patched", os.Stderr)
		if err != nil {
			return nil, err
		}
		bzImage = filepath.Join(kernel, "bzImage")
	}
	workload, load := filepath.Join(dir, "workload"), filepath.Join(dir, "cacheload")
	if err := vm.BuildWorkload(ctx, workload); err != nil {
		return nil, err
	}
	if err := vm.BuildCommand(ctx, "./test/vm/cmd/cacheload", load); err != nil {
		return nil, err
	}
	image := &vm.Image{}
	image.AddFile("bin/workload", 0o755, workload)
	image.AddFile("bin/cacheload", 0o755, load)
	image.AddFile("mglru_exporter", 0o755, exporter)
	image.AddBytes("etc/mglru_exporter.yml", 0o644, demoConfig)
	image.AddBytes("demo.sh", 0o755, demoScript)
	// memcached asks who root is.
	image.AddBytes("etc/passwd", 0o644, []byte("root:x:0:0::/:/bin/sh\n"))
	err := image.AddProgram("bin/memcached", filepath.Join(memcached, "bin/memcached"), filepath.Join(memcached, "lib/x86_64-linux-gnu"))
	if err != nil {
		return nil, err
	}
	return &vm.Guest{
		Kernel:  vm.Kernel{Path: bzImage},
		Image:   image,
		Jobs:    []vm.Job{{Name: "demo", Args: []string{"/demo.sh", fmt.Sprint(exporterPort)}}},
		Ports:   []int{exporterPort},
		Timeout: 1000 * time.Hour,
	}, nil
}

// runGuest returns only once the guest has ended, and never nil.
func runGuest(ctx context.Context, guest *vm.Guest) error {
	err := guest.Run(ctx, vm.Handlers{
		Console: func(line string) { fmt.Println("kernel:", line) },
		Output:  func(_, line string) { fmt.Println(line) },
	})
	if err == nil {
		err = errors.New("the exporter has exited")
	}
	return err
}
