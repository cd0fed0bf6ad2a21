package source

import (
	"errors"
	"fmt"
	"testing"

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
