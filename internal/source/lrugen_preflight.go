package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/preflight"
)

// mountDebugfs is where all programs look for debugfs.
const mountDebugfs = "mount -t debugfs debugfs /sys/kernel/debug"

// lruGenRequirement asks for the file of debugfs where memcg ids are.
func lruGenRequirement(file, procRoot, sysRoot string) preflight.Requirement {
	f, err := os.Open(file)
	if err == nil {
		err = f.Close()
	}
	return judgeLRUGen(err, file, procRoot, sysRoot)
}

// judgeLRUGen is lruGenRequirement of what opening the file said.
func judgeLRUGen(err error, file, procRoot, sysRoot string) preflight.Requirement {
	r := preflight.Requirement{Name: "debugfs lru_gen"}
	if err == nil {
		r.Met, r.Detail = true, file+" can be read"
		return r
	}
	r.Detail = err.Error()
	switch {
	case errors.Is(err, os.ErrPermission):
		r.Repair = "run as root"
		if mode := lockdown(sysRoot); mode != "" {
			r.Detail += "; the kernel is locked down (" + mode + ")"
			r.Repair = "boot without lockdown: Secure Boot off, no lockdown= on the kernel's command line"
		}
	case !hasLine(filepath.Join(procRoot, "filesystems"), "nodev\tdebugfs"):
		r.Detail, r.Repair = "the kernel has no debugfs", "boot a kernel with CONFIG_DEBUG_FS=y"
	case isMounted(filepath.Join(procRoot, "self/mountinfo"), "debugfs", filepath.Dir(file)):
		r.Detail, r.Repair = "debugfs is mounted, and has no lru_gen", "boot a kernel with CONFIG_LRU_GEN=y"
	default:
		r.Repair = mountDebugfs
	}
	return r
}

// writableDebugfs is for where debugfs is mounted read-only, which root cannot help.
const writableDebugfs = "mount -o remount,rw /sys/kernel/debug (systemd: ReadWritePaths=/sys/kernel/debug/lru_gen; a container: its volume without :ro or readOnly)"

// judgeLRUGenWrite is r, of the file that can be read, with what is known of writing.
func judgeLRUGenWrite(err error, file string, r preflight.Requirement) preflight.Requirement {
	if err == nil {
		r.Detail = file + " can be read and written"
		return r
	}
	r.Met, r.Detail, r.Repair = false, file+" cannot be written: "+err.Error(), "run as root"
	if errors.Is(err, unix.EROFS) {
		r.Repair = writableDebugfs
	}
	return r
}

// lockdown returns what kind of lockdown the kernel is in, "" for none.
func lockdown(sysRoot string) string {
	_, rest, _ := strings.Cut(readWord(filepath.Join(sysRoot, "kernel/security/lockdown")), "[")
	mode, _, _ := strings.Cut(rest, "]")
	if mode == "none" {
		return ""
	}
	return mode
}

// hasLine reports whether a file has a line. One that cannot be read may have it.
func hasLine(file, line string) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return true
	}
	for l := range bytes.Lines(b) {
		if string(bytes.TrimSpace(l)) == line {
			return true
		}
	}
	return false
}

// isMounted reports whether a file system of a kind is mounted at a point.
func isMounted(mountinfo, kind, point string) bool {
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		return false
	}
	for l := range strings.Lines(string(b)) {
		head, tail, _ := strings.Cut(l, " - ")
		if f := strings.Fields(head); len(f) > 4 && f[4] == point && strings.HasPrefix(tail, kind+" ") {
			return true
		}
	}
	return false
}
