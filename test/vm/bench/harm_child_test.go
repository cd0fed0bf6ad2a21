//go:build guest

package bench

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mglru_exporter/test/vm/guest"
)

// A child runs in a cgroup of its own, takes commands and answers them.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startChild starts a program of /bin, which is killed when the test ends.
func startChild(t *testing.T, cgroup, name string, args ...string) *child {
	t.Helper()
	dir, err := os.Open(guest.MakeCgroup(t, cgroup))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := &child{cmd: exec.Command("/bin/"+name, args...)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	return p
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// pin keeps all its threads on a CPU, also those to come.
func (p *child) pin(t *testing.T, cpu int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(cpu)
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.pid()))
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			t.Fatalf("pin thread %d of %d: %v", tid, p.pid(), err)
		}
	}
}

func (p *child) ready(t *testing.T) {
	t.Helper()
	if answer := p.answer(t); !strings.HasPrefix(answer, "ready ") {
		t.Fatalf("%q instead of ready", answer)
	}
}

func (p *child) answer(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("no answer: %v", p.out.Err())
	}
	return p.out.Text()
}

// do sends a command and returns the numbers of the answer.
func (p *child) do(t *testing.T, command string) map[string]int64 {
	t.Helper()
	if _, err := io.WriteString(p.in, command+"\n"); err != nil {
		t.Fatal(err)
	}
	answer, ok := strings.CutPrefix(p.answer(t), "ok ")
	if !ok {
		t.Fatalf("%s: %s", command, answer)
	}
	numbers := map[string]int64{}
	for word := range strings.FieldsSeq(answer) {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", answer, err)
		}
		numbers[name] = n
	}
	return numbers
}

// An exporter is the real command, which is scraped as Prometheus would.
type exporter struct {
	p       *child
	scrapes *time.Ticker
	done    chan struct{}
}

const (
	exporterAddr   = "127.0.0.1:9934"
	exporterCgroup = "/exporter"
	scrapeEvery    = 15 * time.Second
)

// watch starts an exporter that watches one memcg and else has the defaults, and
// returns when it has been at it for some time.
func watch(t *testing.T, cgroup string, w Watch) *exporter {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	config := fmt.Sprintf("source: %s\naging: {interval: %s}\nmemcgs: [{path: %s}]\n", w.Source, w.Interval, cgroup)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"mglru_exporter", "--config.file=" + file, "--web.listen-address=" + exporterAddr}
	if w.Variant == Nice {
		command = append([]string{"nice", "-n", "10"}, command...)
	}
	e := &exporter{p: startChild(t, exporterCgroup, command[0], command[1:]...), scrapes: time.NewTicker(scrapeEvery), done: make(chan struct{})}
	if w.Variant == Unscraped {
		e.scrapes.Stop()
	}
	for tries := 0; ; tries++ {
		if _, err := get("/-/ready"); err == nil {
			break
		} else if tries == 600 {
			t.Fatalf("the exporter is not ready: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	go func() {
		for {
			select {
			case <-e.scrapes.C:
				_, _ = get("/metrics") // effort checks it
			case <-e.done:
				return
			}
		}
	}()
	// With referenced the second pass comes early.
	time.Sleep(DefaultInterval / 2)
	return e
}

func (e *exporter) stop(t *testing.T) {
	e.scrapes.Stop()
	close(e.done)
	if err := e.p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := e.p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func get(path string) (string, error) {
	resp, err := http.Get("http://" + exporterAddr + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// effort is what the exporter has used so far; nothing if there is none.
func (e *exporter) effort(t *testing.T) Effort {
	t.Helper()
	if e == nil {
		return Effort{}
	}
	body, err := get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	sum := Effort{Over: float64(time.Now().UnixNano()) / 1e9, CPU: cpuOf(t, exporterCgroup), Parts: map[string]float64{}}
	for line := range strings.Lines(body) {
		series, text, _ := strings.Cut(strings.TrimSpace(line), "} ")
		name, labels, ok := strings.Cut(series, "{")
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case !ok || err != nil:
		case name == "mglru_passes_total":
			sum.Passes += int(value)
		case name == "mglru_pass_failures_total" && value > 0:
			t.Errorf("failures: %s", strings.TrimSpace(line))
		case name == "mglru_pass_delay_seconds_total":
			sum.Delay += value
		case name == "mglru_cpu_seconds_total":
			sum.Parts[strings.Trim(strings.TrimPrefix(labels, "part="), `"`)] = value
		}
	}
	return sum
}

func (e Effort) since(before Effort) Effort {
	d := Effort{Over: e.Over - before.Over, CPU: e.CPU - before.CPU, Delay: e.Delay - before.Delay, Passes: e.Passes - before.Passes, Parts: map[string]float64{}}
	for part, v := range e.Parts {
		d.Parts[part] = v - before.Parts[part]
	}
	return d
}
