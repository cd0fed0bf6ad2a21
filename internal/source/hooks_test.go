package source

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
)

func TestReasonsOfHooks(t *testing.T) {
	for _, c := range []struct {
		err   error
		want  string
		again bool
	}{
		{unix.EAGAIN, ReasonRaced, true},
		{fmt.Errorf("run: %w", unix.EINTR), ReasonInterrupted, true},
		{unix.ENOENT, ReasonGone, true},
		{unix.EOPNOTSUPP, ReasonDisabled, false},
		{unix.EIO, ReasonKernel, false},
		{bpf.ErrProbesOff, ReasonProbesOff, false},
		// Another try would find the probes on again, and what was missed as cold.
		{errors.Join(unix.EAGAIN, bpf.ErrProbesOff), ReasonProbesOff, false},
		{errors.Join(bpf.ErrProbesOff, unix.EACCES), ReasonProbesOff, false},
	} {
		if got := failure(c.err).Reason; got != c.want || retry[got] != c.again {
			t.Errorf("failure(%v) is %s, tried again: %v; want %s, %v", c.err, got, retry[got], c.want, c.again)
		}
	}
}

// TestTriesOfAPass: a try that does not know whose records it lost makes all of the
// pass's be anybody's.
func TestTriesOfAPass(t *testing.T) {
	one := bpf.Pass{Lost: 2, LostBy: []int{7}, CPU: 1}
	anybody := bpf.Pass{Lost: 3, CPU: 1}
	for name, c := range map[string]struct {
		tries []bpf.Pass
		want  Outcome
	}{
		"nothing is lost":        {[]bpf.Pass{{CPU: 1}, {CPU: 2}}, Outcome{CPU: 3}},
		"a process's":            {[]bpf.Pass{{}, one}, Outcome{Lost: 2, LostBy: []int{7}, CPU: 1}},
		"anybody's, then one's":  {[]bpf.Pass{anybody, one}, Outcome{Lost: 5, CPU: 2}},
		"one's, then anybody's":  {[]bpf.Pass{one, anybody}, Outcome{Lost: 5, CPU: 2}},
		"anybody's, then no one": {[]bpf.Pass{anybody, {}}, Outcome{Lost: 3, CPU: 1}},
	} {
		var got Outcome
		for _, try := range c.tries {
			got.add(try)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s, - want + got:\n%s", name, diff)
		}
	}
}
