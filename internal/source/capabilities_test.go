package source

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestCapabilitiesThatAreKept(t *testing.T) {
	const (
		admin    = 1 << unix.CAP_SYS_ADMIN
		ptrace   = 1 << unix.CAP_SYS_PTRACE
		read     = 1 << unix.CAP_DAC_READ_SEARCH
		override = 1 << unix.CAP_DAC_OVERRIDE
		all      = 1<<41 - 1
	)
	for _, tc := range []struct {
		source     string
		held, want uint64
	}{
		{"hooks", all, admin | ptrace | read},
		{"stock", all, admin | ptrace | read},
		{"stock", admin | ptrace | override, admin | ptrace | override},
		{"referenced", all, ptrace | override},
		{"referenced", admin | override, admin | override},
		{"replay", all, 0},
		{"hooks", 0, 0},
	} {
		if got := Capabilities(tc.source, tc.held); got != tc.want {
			t.Errorf("source %s keeps %#x of %#x, want %#x", tc.source, got, tc.held, tc.want)
		}
	}
}
