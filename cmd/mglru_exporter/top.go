package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	httpconfig "github.com/prometheus/common/config"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/top"
)

// A topCommand is the command that shows on a terminal what an exporter sees.
type topCommand struct {
	out            io.Writer
	url            string
	httpConfigFile string
	interval       time.Duration
	once           bool
	pid            int
	overlay        string
	sort           string
	search         string
	color          string
}

func (c *topCommand) flags(cmd *kingpin.CmdClause) {
	cmd.Flag("url", "The exporter's URL.").
		Default("http://127.0.0.1:9934").StringVar(&c.url)
	cmd.Flag("http.config.file", "Path of an HTTP client configuration (basic_auth, tls_config …), as promtool's.").
		StringVar(&c.httpConfigFile)
	cmd.Flag("interval", "How often to ask whether there is a new window.").
		Default("1s").DurationVar(&c.interval)
	cmd.Flag("once", "Print one frame, to a terminal, a pipe or a file, and exit. COLUMNS and LINES set its size.").
		BoolVar(&c.once)
	cmd.Flag("pid", "Start with the heatmap of this process.").
		IntVar(&c.pid)
	cmd.Flag("overlay", "What the heatmap's colours stand for: heat, node, type or idle.").
		Default(top.Overlays()[0]).EnumVar(&c.overlay, top.Overlays()...)
	cmd.Flag("sort", "What to sort processes by: cold, hot, resident, unobserved, pid or comm.").
		Default(top.Sorts()[0]).EnumVar(&c.sort, top.Sorts()...)
	cmd.Flag("search", "Show only processes with this in their comm, pid or memcg.").
		StringVar(&c.search)
	cmd.Flag("color", "Use colours: auto (on a terminal that has them, unless NO_COLOR is set), always or never.").
		Default("auto").EnumVar(&c.color, "auto", "always", "never")
}

// run returns nil after the user has quit or the frame is printed.
func (c *topCommand) run(ctx context.Context, _ configFile, _ *slog.Logger) error {
	if c.interval < top.MinInterval {
		return fmt.Errorf("--interval: %s is too short, at least %s", c.interval, top.MinInterval)
	}
	if c.pid < 0 {
		return fmt.Errorf("--pid: %d is no process", c.pid)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	width, height, terminal := terminalSize(c.out)
	o := top.Options{
		Client: client, Interval: c.interval, PID: c.pid,
		Overlay: top.Overlay(c.overlay), Sort: c.sort, Search: c.search,
		Palette: top.DetectPalette(os.Getenv, c.color, terminal), Zone: time.Local,
	}
	if c.once {
		return top.Once(ctx, c.out, o, width, height)
	}
	if !terminal {
		return errors.New("standard output is no terminal; --once prints a frame to anything")
	}
	return top.Run(ctx, o)
}

func (c *topCommand) client() (*top.Client, error) {
	cfg := &httpconfig.DefaultHTTPClientConfig
	if c.httpConfigFile != "" {
		var err error
		if cfg, _, err = httpconfig.LoadHTTPConfigFile(c.httpConfigFile); err != nil {
			return nil, fmt.Errorf("--http.config.file: %w", err)
		}
	}
	h, err := httpconfig.NewClientFromConfig(*cfg, program)
	if err != nil {
		return nil, fmt.Errorf("--http.config.file: %w", err)
	}
	return top.NewClient(c.url, h)
}

// terminalSize is how many cells a frame has: those of the terminal, or what
// COLUMNS and LINES say for anything else, or 80 × 24.
func terminalSize(out io.Writer) (width, height int, terminal bool) {
	width, height = 80, 24
	if f, ok := out.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			terminal = true
			if ws.Col > 0 && ws.Row > 0 {
				width, height = int(ws.Col), int(ws.Row)
			}
		}
	}
	// The shell's own COLUMNS is not exported; who exports it means it.
	const most = 1000
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		width = min(n, most)
	}
	if n, err := strconv.Atoi(os.Getenv("LINES")); err == nil && n > 0 {
		height = min(n, most)
	}
	return width, height, terminal
}
