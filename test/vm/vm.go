// Package vm boots a Linux guest under QEMU, with two NUMA nodes and a kernel of
// our own, and runs programs in it. It is for tests and for the demo.
//
// The guest has no distribution: an initramfs with busybox, what the caller
// adds, and an init that runs the caller's jobs in turn and powers off. Output
// of jobs comes over a virtio port, apart from the kernel's console, and
// anything on the console that looks like a kernel bug fails the run.
package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A Job is a program to run in the guest.
type Job struct {
	// Name tells the job's output from that of others; it has no blanks.
	Name string
	// Dir is the working directory; empty means /.
	Dir string
	// Args are the program and its arguments.
	Args []string
}

// A Guest is a machine to boot. Kernel or System, Image and Jobs are required.
type Guest struct {
	// Kernel is what to boot.
	Kernel Kernel
	// System, if not nil, is booted instead.
	System *System
	// Image has what goes into the initramfs beyond busybox and init, or into the
	// System's root.
	Image *Image
	// Jobs run one after another, whatever becomes of each.
	Jobs []Job
	// Machine is the hardware; zero means DefaultMachine, under KVM where
	// that works.
	Machine Machine
	// Append is added to the kernel's command line.
	Append string
	// Ports are TCP ports of the guest that are forwarded from the same port
	// of 127.0.0.1. Without any the guest has no network.
	Ports []int
	// Timeout bounds a boot with all its jobs; zero means 10 minutes.
	Timeout time.Duration
	// ConsoleLog is where the console goes, when not empty.
	ConsoleLog string
}

// Handlers are told what happens in a guest while it happens, from one
// goroutine. Any of them may be nil.
type Handlers struct {
	// Console gets each line of the kernel's console.
	Console func(line string)
	// Begin and End frame a job; status is its exit status, as a shell has it.
	Begin func(job string)
	End   func(job string, status int)
	// Output gets each line that a job writes.
	Output func(job, line string)
}

// A boot may take bootCPU of QEMU's CPU time until init runs, some ten times what
// a kernel with lockdep takes and twice what a System does, and bootTimeout on a clock: by a clock alone a good
// boot on a busy machine looks like one that hangs.
const (
	bootCPU     = 90 * time.Second
	bootTimeout = 15 * time.Minute
)

// maxBoots is how often a guest is booted that never reaches init: QEMU's TCG
// dies now and then before that.
const maxBoots = 3

// errNoInit is of a boot that never reached init.
var errNoInit = errors.New("the guest never reached init")

// Run boots the guest, runs its jobs and waits for it to power off. It returns
// an error if the guest died before all jobs had ended, and a *SplatError if
// the kernel complained; that a job failed is no error. No QEMU is left behind.
func (g *Guest) Run(ctx context.Context, h Handlers) error {
	dir, err := os.MkdirTemp("", "mglru-guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	g.Image.AddBytes("jobs", 0o644, jobScript(g.Jobs))
	media, err := g.write(dir)
	if err != nil {
		return err
	}
	machine := g.Machine
	if machine.CPUs == 0 {
		machine = g.machine(ctx)
	}
	timeout := g.Timeout
	if timeout == 0 {
		timeout = 10 * time.Minute
	}
	for boot := 1; ; boot++ {
		if g.System == nil {
			disk, err := makeDisk(ctx, dir)
			if err != nil {
				return err
			}
			media.drives = []string{"cache=unsafe,file=" + disk}
		}
		err = g.boot(ctx, g.args(machine, media), timeout, h)
		if !errors.Is(err, errNoInit) || boot == maxBoots || ctx.Err() != nil {
			return err
		}
		if h.Console != nil {
			h.Console(fmt.Sprintf("boot %d of %d: %v", boot, maxBoots, err))
		}
	}
}

// write writes the image, and returns all that a boot needs but an empty disk.
func (g *Guest) write(dir string) (media, error) {
	file := filepath.Join(dir, "image")
	if s := g.System; s != nil {
		g.Image.AddBytes("init", 0o755, systemScript)
		if err := g.Image.writeArchive(file); err != nil {
			return media{}, fmt.Errorf("write the image: %w", err)
		}
		return media{
			kernel: s.Kernel, initrd: s.Initrd, append: "root=/dev/vda rw",
			drives: []string{"snapshot=on,file=" + s.Disk, "read-only=on,file=" + file},
		}, nil
	}
	g.Image.AddDir("modules")
	for _, m := range g.Kernel.Modules {
		g.Image.AddFile(path.Join("modules", filepath.Base(m)), 0o644, m)
	}
	if err := g.Image.WriteFile(file); err != nil {
		return media{}, fmt.Errorf("write the initramfs: %w", err)
	}
	return media{kernel: g.Kernel, initrd: file, append: "cgroup_no_v1=all"}, nil
}

// boot is one boot of Run.
func (g *Guest) boot(ctx context.Context, args []string, timeout time.Duration, h Handlers) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(timeout, func() {
		cancel(fmt.Errorf("the guest did not end within %v", timeout))
	})
	defer limit.Stop()

	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	dieWithUs(cmd)
	stderr := &tail{max: 20}
	cmd.Stderr = stderr
	consoleR, consoleW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer consoleR.Close()
	portR, portW, err := os.Pipe()
	if err != nil {
		consoleW.Close()
		return err
	}
	defer portR.Close()
	cmd.Stdout = consoleW
	cmd.ExtraFiles = []*os.File{portW} // QEMU opens it as /dev/fd/3
	err = cmd.Start()
	consoleW.Close()
	portW.Close()
	if err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}

	log, err := g.openLog()
	if err != nil {
		cancel(err)
	}
	defer log.Close()
	lines := make(chan line)
	go readLines(consoleR, true, lines)
	go readLines(portR, false, lines)
	booting, booted := context.WithCancel(ctx)
	defer booted()
	go func() {
		if err := watchBoot(booting, cmd.Process.Pid, time.Second); err != nil {
			cancel(err)
		}
	}()

	s := session{handlers: h, log: log, jobs: len(g.Jobs), onInit: booted}
	for open := 2; open > 0; {
		l := <-lines
		if l.eof {
			open--
			continue
		}
		s.line(l)
	}
	booted() // once waited for, its pid may be another's
	err = cmd.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if err != nil {
		err = fmt.Errorf("QEMU: %w: %s", err, stderr)
	}
	return s.result(err)
}

// openLog opens the console log; without one it returns a file that takes
// everything.
func (g *Guest) openLog() (*os.File, error) {
	file := g.ConsoleLog
	if file == "" {
		file = os.DevNull
	} else if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	return os.Create(file)
}

// A line is one line from the guest, or the end of one of its outputs.
type line struct {
	console bool
	eof     bool
	text    string
}

// readLines sends what r has until it ends, however long the lines.
func readLines(r io.Reader, console bool, lines chan<- line) {
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			lines <- line{console: console, text: strings.TrimRight(text, "\r\n")}
		}
		if err != nil {
			lines <- line{console: console, eof: true}
			return
		}
	}
}

// A session is what is known of a boot so far.
type session struct {
	handlers Handlers
	log      io.Writer
	onInit   func()

	jobs  int // still to end
	init  bool
	job   string
	tail  tail
	splat *SplatError
}

// mark starts a line in which init, not a job, speaks.
const mark = "\x01"

func (s *session) line(l line) {
	if l.console {
		s.console(l.text)
		return
	}
	// A job's last line may lack its end.
	output, word, marked := strings.Cut(l.text, mark)
	if (output != "" || !marked) && s.handlers.Output != nil {
		s.handlers.Output(s.job, output)
	}
	if !marked {
		return
	}
	words := strings.Fields(word)
	switch {
	case len(words) == 1 && words[0] == "init":
		s.init = true
		s.onInit()
	case len(words) == 2 && words[0] == "begin":
		s.job = words[1]
		if s.handlers.Begin != nil {
			s.handlers.Begin(s.job)
		}
	case len(words) == 3 && words[0] == "end":
		status, err := strconv.Atoi(words[2])
		if err != nil {
			status = -1
		}
		if s.handlers.End != nil {
			s.handlers.End(words[1], status)
		}
		s.job = ""
		s.jobs--
	}
}

func (s *session) console(text string) {
	fmt.Fprintln(s.log, text)
	s.tail.add(text)
	if s.splat != nil {
		s.splat.add(text)
	} else if isSplat(text) {
		s.splat = &SplatError{Job: s.job, Lines: []string{text}}
	}
	if s.handlers.Console != nil {
		s.handlers.Console(text)
	}
}

// result says how the boot went, err being what is known of QEMU.
func (s *session) result(err error) error {
	if !s.init {
		return errors.Join(fmt.Errorf("%w; its console ends:\n%s", errNoInit, &s.tail), err)
	}
	if s.jobs > 0 {
		err = errors.Join(fmt.Errorf("the guest died in %q, %d jobs unfinished; its console ends:\n%s", s.job, s.jobs, &s.tail), err)
	}
	if s.splat != nil {
		err = errors.Join(s.splat, err)
	}
	return err
}

// tail keeps the last lines of a text.
type tail struct {
	max   int // 0 means 30
	lines []string
}

func (t *tail) add(line string) {
	keep := t.max
	if keep == 0 {
		keep = 30
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > keep {
		t.lines = t.lines[1:]
	}
}

func (t *tail) Write(p []byte) (int, error) {
	for text := range strings.Lines(string(p)) {
		t.add(strings.TrimSpace(text))
	}
	return len(p), nil
}

func (t *tail) String() string { return "\t" + strings.Join(t.lines, "\n\t") }
