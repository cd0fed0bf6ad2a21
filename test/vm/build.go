package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Root returns the repository's root directory.
var Root = sync.OnceValue(func() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		panic(fmt.Sprintf("go list -m: %v", err))
	}
	return strings.TrimSpace(string(out))
})

// CacheDir is where kernels and logs are kept: $MGLRU_CACHE, or mglru_exporter
// in the user's cache directory.
func CacheDir() string {
	if dir := os.Getenv("MGLRU_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "mglru_exporter")
}

// BuildKernel returns the directory with the bzImage of a variant (plain,
// patched or debug) and builds it if need be, which takes some ten minutes. It
// reports its progress on w.
func BuildKernel(ctx context.Context, variant string, w io.Writer) (string, error) {
	cmd := command(ctx, filepath.Join(Root(), "test/vm/kernel/build"), variant)
	cmd.Stderr = w
	// SIGTERM lets it take make down with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build the %s kernel: %w", variant, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// BuildWorkload compiles the workload to the file out.
func BuildWorkload(ctx context.Context, out string) error {
	return run(command(ctx, "gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-s", "-o", out,
		filepath.Join(Root(), "test/vm/workload/workload.c")))
}

// BuildRequests compiles the workload of the harm benchmark to the file out.
func BuildRequests(ctx context.Context, out string) error {
	return run(command(ctx, "gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-s", "-o", out,
		filepath.Join(Root(), "test/vm/workload/requests.c"), "-lm"))
}

// BuildTest compiles the tests of a package, with build tags, to the file out,
// statically.
func BuildTest(ctx context.Context, pkg, tags, out string) error {
	return run(goCommand(ctx, "test", "-c", "-tags", tags, "-ldflags", "-s -w", "-o", out, pkg))
}

// BuildCommand compiles the command pkg to the file out, statically.
func BuildCommand(ctx context.Context, pkg, out string) error {
	return run(goCommand(ctx, "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg))
}

func goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := command(ctx, "go", args...)
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	return cmd
}

func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	dieWithUs(cmd)
	return cmd
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
