package source

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAccess: capabilities that are lacking are named, unless processes of another
// user can be opened without.
func TestAccess(t *testing.T) {
	const (
		ptraceBit   = 1 << unix.CAP_SYS_PTRACE
		searchBit   = 1 << unix.CAP_DAC_READ_SEARCH
		overrideBit = 1 << unix.CAP_DAC_OVERRIDE
	)
	forbidden := errors.New("open /proc/7/pagemap: permission denied")
	for _, tc := range []struct {
		name   string
		access access
		caps   uint64
		seen   survey
		detail string
		met    bool
	}{
		{"all for pagemap", pagemapAccess(), ptraceBit | searchBit, survey{}, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are effective", true},
		{"more than enough", pagemapAccess(), ptraceBit | overrideBit, survey{}, "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are effective", true},
		{"all for clear_refs", clearRefsAccess(), ptraceBit | overrideBit, survey{}, "CAP_SYS_PTRACE and CAP_DAC_OVERRIDE are effective", true},
		{"no permission to trace", pagemapAccess(), searchBit, survey{}, "we lack CAP_SYS_PTRACE", false},
		{"only reading for clear_refs", clearRefsAccess(), ptraceBit | searchBit, survey{}, "we lack CAP_DAC_OVERRIDE", false},
		{"nothing", pagemapAccess(), 0, survey{}, "we lack CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", false},
		{"nothing, and our own processes do not need it", pagemapAccess(), 0, survey{asked: 3}, "we lack CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH", false},
		{"one lacks, and shows", pagemapAccess(), searchBit, survey{asked: 3, foreign: 2, denied: 1, example: forbidden}, "we lack CAP_SYS_PTRACE", false},
		{"the kernel does without", pagemapAccess(), searchBit, survey{asked: 3, foreign: 2}, "those of others can be read without CAP_SYS_PTRACE", true},
		{"all is forbidden all the same", pagemapAccess(), ptraceBit | searchBit, survey{asked: 3, foreign: 2, denied: 3, example: forbidden},
			"open /proc/7/pagemap: permission denied", false},
		{"one is forbidden all the same", pagemapAccess(), ptraceBit | searchBit, survey{asked: 3, foreign: 2, denied: 1, example: forbidden},
			"CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are effective; of the first 3 processes 1 may not be read all the same, and will be missing: open /proc/7/pagemap: permission denied", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.access.judge(tc.caps, nil, tc.seen)
			if r.Met != tc.met || r.Detail != tc.detail || r.Met != (r.Repair == "") {
				t.Errorf("%+v, want met: %v, detail: %q", r, tc.met, tc.detail)
			}
		})
	}
}

func TestSurvey(t *testing.T) {
	f := newFakeProc(t)
	f.write("self/pagemap", "")
	f.write("7/pagemap", "")
	f.write("7/statm", "3 2 1 1 0 1 0\n")
	f.write("8/pagemap", "")
	f.write("8/statm", "0 0 0 0 0 0 0\n") // a thread of the kernel
	f.write("9/status", "it has just ended")
	s := pagemapAccess().survey(f.dir)
	if s.asked != 1 || s.foreign != 0 || s.denied != 0 {
		t.Errorf("%+v, want the one process that can be asked", s)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := os.Chown(f.dir+"/7", 1000, 1000); err != nil {
		t.Fatal(err)
	}
	if s := pagemapAccess().survey(f.dir); s.asked != 1 || s.foreign != 1 {
		t.Errorf("%+v, want it to be another user's", s)
	}
}
