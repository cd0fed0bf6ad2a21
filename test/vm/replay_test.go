package vm

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// An event is one of "go tool test2json".
type event struct {
	Action string
	Test   string
	Output string
}

// A replay turns the output of a test binary elsewhere into subtests here. Feed
// it with start, line and end, while run runs in a test.
type replay struct {
	stdin io.WriteCloser
	cmd   *exec.Cmd
	done  chan struct{} // closed when all of the output has been taken apart

	mu     sync.Mutex
	queues map[string]*queue // by test; "" is the binary itself
	status int
	ended  bool
	count  map[string]int // of tests by how they ended
}

func newReplay() *replay {
	return &replay{queues: map[string]*queue{"": newQueue()}, count: map[string]int{}, done: make(chan struct{})}
}

// start begins to take lines.
func (r *replay) start() error {
	r.cmd = exec.Command("go", "tool", "test2json")
	stdin, err := r.cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	r.stdin = stdin
	if err := r.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(r.done)
		in := bufio.NewScanner(stdout)
		in.Buffer(nil, 1<<24)
		for in.Scan() {
			var e event
			if json.Unmarshal(in.Bytes(), &e) == nil {
				r.dispatch(e)
			}
		}
	}()
	return nil
}

// line takes a line of the binary's output.
func (r *replay) line(text string) {
	// A test2json that is gone shows in unfinished tests.
	_, _ = io.WriteString(r.stdin, text+"\n")
}

// end says that the binary has exited; without a call of end it died with the
// guest.
func (r *replay) end(status int) {
	r.status, r.ended = status, true
}

// close ends all tests, the unfinished ones as failed. It may be called of a
// replay that was never started.
func (r *replay) close() {
	if r.cmd != nil {
		r.stdin.Close()
		<-r.done
		_ = r.cmd.Wait()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.queues {
		q.close()
	}
}

func (r *replay) dispatch(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Action {
	case "run":
		r.queues[e.Test] = newQueue()
		r.queues[r.parent(e.Test)].put(e)
		return
	case "pass", "fail", "skip":
		if e.Test == "" {
			return // the exit status says it
		}
		r.count[e.Action]++
	case "output":
		// The outer test prints these itself.
		if text := strings.TrimLeft(e.Output, " "); strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- ") {
			return
		}
	default:
		return
	}
	if q := r.queues[e.Test]; q != nil {
		q.put(e)
	}
}

// parent returns the test whose subtest a test is. A name may itself have
// slashes.
func (r *replay) parent(test string) string {
	for {
		i := strings.LastIndexByte(test, '/')
		if i < 0 {
			return ""
		}
		test = test[:i]
		if _, ok := r.queues[test]; ok {
			return test
		}
	}
}

// run reports the binary's tests as subtests of t while they run. It returns
// after close.
func (r *replay) run(t *testing.T) {
	r.test(t, "")
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ran := r.count["pass"] + r.count["fail"] + r.count["skip"]; {
	case !r.ended:
		t.Error("the guest died before this binary ended, or before it began")
	case r.status != 0 && r.count["fail"] == 0:
		t.Errorf("the binary exited with status %d, though no test failed", r.status)
	case ran == 0:
		t.Error("the binary ran no test")
	default:
		t.Logf("%d passed, %d failed, %d skipped", r.count["pass"], r.count["fail"], r.count["skip"])
	}
}

// test plays one test's events into t.
func (r *replay) test(t *testing.T, name string) {
	r.mu.Lock()
	q := r.queues[name]
	r.mu.Unlock()
	for {
		e, ok := q.get()
		switch {
		case !ok && name == "":
			return
		case !ok:
			t.Error("the guest died before this test ended")
			return
		case e.Action == "run":
			t.Run(strings.TrimPrefix(strings.TrimPrefix(e.Test, name), "/"), func(t *testing.T) { r.test(t, e.Test) })
		case e.Action == "output":
			_, _ = io.WriteString(t.Output(), e.Output)
		case e.Action == "fail":
			t.Fail()
			return
		case e.Action == "skip":
			t.SkipNow()
		case e.Action == "pass":
			return
		}
	}
}

// A queue holds events without bound: the tests of a binary run in parallel,
// those that replay them one after another.
type queue struct {
	mu     sync.Mutex
	filled *sync.Cond
	events []event
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.filled = sync.NewCond(&q.mu)
	return q
}

func (q *queue) put(e event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events, e)
	q.filled.Signal()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

// get waits for the next event; it is false when there will be none.
func (q *queue) get() (event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.events) == 0 && !q.closed {
		q.filled.Wait()
	}
	if len(q.events) == 0 {
		return event{}, false
	}
	e := q.events[0]
	q.events = q.events[1:]
	return e, true
}

// innerRun returns what is left of a -test.run pattern for the tests inside the
// guest, after TestGuest/KERNEL/SUITE, and whether it selects the suite.
func innerRun(pattern, suite string) (inner string, selected bool, err error) {
	parts := strings.SplitN(pattern, "/", 4)
	if len(parts) > 2 {
		selected, err := regexp.MatchString(parts[2], suite)
		if err != nil || !selected {
			return "", false, err
		}
	}
	if len(parts) > 3 {
		return parts[3], true, nil
	}
	return "", true, nil
}
