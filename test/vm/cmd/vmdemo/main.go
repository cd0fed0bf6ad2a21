// Command vmdemo boots a guest with a patched kernel, the exporter and two
// processes that use some of their memory, and forwards the exporter's port to
// this machine until it is interrupted.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"mglru_exporter/test/vm"
)

//go:embed demo.sh
var demoScript []byte

//go:embed demo.yml
var demoConfig []byte

// port is the exporter's, in the guest and on this machine.
const port = 9934

func main() {
	exporter := flag.String("exporter", "bin/mglru_exporter", "the static `binary` to run in the guest")
	kernel := flag.String("kernel", "", "the bzImage to boot (default: the patched kernel, built if need be)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx, *exporter, *kernel)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "vmdemo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, exporter, bzImage string) error {
	if err := portIsFree(ctx); err != nil {
		return err
	}
	if bzImage == "" {
		kernel, err := vm.BuildKernel(ctx, "patched", os.Stderr)
		if err != nil {
			return err
		}
		bzImage = filepath.Join(kernel, "bzImage")
	}
	dir, err := os.MkdirTemp("", "vmdemo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	workload := filepath.Join(dir, "workload")
	if err := vm.BuildWorkload(ctx, workload); err != nil {
		return err
	}
	image := &vm.Image{}
	image.AddFile("bin/workload", 0o755, workload)
	image.AddFile("mglru_exporter", 0o755, exporter)
	image.AddBytes("etc/mglru_exporter.yml", 0o644, demoConfig)
	image.AddBytes("demo.sh", 0o755, demoScript)
	guest := &vm.Guest{
		Kernel:  vm.Kernel{Path: bzImage},
		Image:   image,
		Jobs:    []vm.Job{{Name: "demo", Args: []string{"/demo.sh", fmt.Sprint(port)}}},
		Ports:   []int{port},
		Timeout: 1000 * time.Hour,
	}

	fmt.Println("booting the guest")
	answered := make(chan struct{})
	polling, stop := context.WithCancel(ctx)
	go func() {
		defer close(answered)
		announce(polling)
	}()
	defer func() {
		stop()
		<-answered
	}()
	err = guest.Run(ctx, vm.Handlers{
		Console: func(line string) { fmt.Println("kernel:", line) },
		Output:  func(_, line string) { fmt.Println(line) },
	})
	if err != nil {
		return err
	}
	return errors.New("the exporter has exited")
}

// portIsFree says who is in the way before anything is built.
func portIsFree(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fmt.Errorf("the demo's port is in use: %w", err)
	}
	return l.Close()
}

// announce prints the URL once the exporter answers, and what is hot once a
// window knows: not the first one, which proves nothing.
func announce(ctx context.Context) {
	url := fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	up := false
	for ctx.Err() == nil {
		metrics, err := get(ctx, url)
		if err == nil && !up {
			up = true
			fmt.Printf("\n  %s\n\nCtrl-C ends it. What is hot is known after two windows, in about a minute.\n\n", url)
		}
		if hot := samples(metrics, "mglru_hot_bytes{"); len(hot) > 0 {
			fmt.Printf("\n%s\n\n  curl -s %s | grep ^mglru_hot_bytes\n\n", strings.Join(hot, "\n"), url)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func get(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

// samples returns the lines of metrics that begin with prefix and are not 0.
func samples(metrics, prefix string) []string {
	var found []string
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, prefix) && !strings.HasSuffix(line, " 0\n") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
