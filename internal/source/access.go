package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/preflight"
)

// access is what a source opens of each process, whoever's it is, and the
// capabilities that let it.
type access struct {
	// files are in /proc/PID, with the flag of open(2). To open them changes
	// nothing, and is what the kernel checks the permission of.
	files map[string]int
	caps  []capability
}

// A capability has the bits of which any is enough.
type capability struct {
	name string
	bits []int
}

// pagemapAccess is of sources that read residency page by page: pagemap asks for
// permission to trace, and may be read by its process's user alone.
func pagemapAccess() access {
	return access{map[string]int{"pagemap": os.O_RDONLY}, []capability{
		{"CAP_SYS_PTRACE", []int{unix.CAP_SYS_PTRACE}},
		{"CAP_DAC_READ_SEARCH", []int{unix.CAP_DAC_READ_SEARCH, unix.CAP_DAC_OVERRIDE}},
	}}
}

// clearRefsAccess is of the source referenced: smaps asks for permission to trace,
// clear_refs may be written by its process's user alone.
func clearRefsAccess() access {
	return access{map[string]int{"smaps": os.O_RDONLY, "clear_refs": os.O_WRONLY}, []capability{
		{"CAP_SYS_PTRACE", []int{unix.CAP_SYS_PTRACE}},
		{"CAP_DAC_OVERRIDE", []int{unix.CAP_DAC_OVERRIDE}},
	}}
}

// requirement asks for access to processes of all users.
func (a access) requirement(procRoot string) preflight.Requirement {
	status, err := os.ReadFile(filepath.Join(procRoot, "self/status"))
	var caps uint64
	if err == nil {
		caps, err = effectiveCaps(string(status))
	}
	return a.judge(caps, err, a.survey(procRoot))
}

// judge is requirement of what was found; err is why the capabilities are not
// known.
func (a access) judge(caps uint64, err error, s survey) preflight.Requirement {
	all := strings.Join(a.lacking(0), " and ")
	r := preflight.Requirement{Name: "access to processes of all users", Repair: "run as root with all its capabilities, or with " + all}
	lack := a.lacking(caps)
	switch {
	case err != nil:
		r.Detail = err.Error()
	case len(lack) > 0 && s.denied == 0 && s.foreign > 0:
		// What can be done counts: 7.x lets CAP_PERFMON, a part of CAP_SYS_ADMIN,
		// look at processes (may_access_mm() in kernel/fork.c).
		r.Met, r.Repair = true, ""
		r.Detail = "those of others can be read without " + strings.Join(lack, " and ")
	case len(lack) > 0:
		r.Detail = "we lack " + strings.Join(lack, " and ")
	case s.asked > 0 && s.denied == s.asked:
		// A security module, or a user namespace, may forbid what the
		// capabilities allow.
		r.Detail = s.example.Error()
		r.Repair += ", where no security module forbids it (SELinux, AppArmor, a container's profile)"
	default:
		r.Met, r.Repair, r.Detail = true, "", all+" are effective"
		if s.denied > 0 {
			r.Detail += fmt.Sprintf("; of the first %d processes %d may not be read all the same, and will be missing: %v", s.asked, s.denied, s.example)
		}
	}
	return r
}

// lacking names the capabilities that are not in a set.
func (a access) lacking(caps uint64) (names []string) {
	for _, c := range a.caps {
		has := false
		for _, bit := range c.bits {
			has = has || caps>>bit&1 != 0
		}
		if !has {
			names = append(names, c.name)
		}
	}
	return names
}

// A survey is how some processes could be opened.
type survey struct {
	// asked are those that were there; foreign are those of them that are
	// another user's; denied may not be opened, with one's error for an example.
	asked, foreign, denied int
	example                error
}

// mostAsked is how many processes are asked whether they may be read.
const mostAsked = 100

func (a access) survey(procRoot string) (s survey) {
	// The pattern has no syntax error, and Glob has no other one.
	dirs, _ := filepath.Glob(filepath.Join(procRoot, "[0-9]*"))
	for _, dir := range dirs {
		if s.asked == mostAsked {
			break
		}
		// Threads of the kernel have no memory, and some kernels let anybody open
		// that. There may be hundreds of them before the first process.
		if statm, err := os.ReadFile(filepath.Join(dir, "statm")); err == nil && strings.HasPrefix(string(statm), "0 ") {
			continue
		}
		info, err := os.Stat(dir)
		if err != nil {
			continue // gone
		}
		switch err := a.open(dir); {
		case err == nil:
		case errors.Is(err, os.ErrPermission):
			s.denied, s.example = s.denied+1, err
		default: // gone
			continue
		}
		s.asked++
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
			s.foreign++
		}
	}
	return s
}

// open opens the files of one process.
func (a access) open(dir string) error {
	for file, flag := range a.files {
		f, err := os.OpenFile(filepath.Join(dir, file), flag, 0)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// effectiveCaps returns the effective capabilities in a status file.
func effectiveCaps(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("our status shows no capabilities")
}
