package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/preflight"
)

// TestLRUGenRepairs: each repair is the one that helps. To mount a debugfs that is
// mounted, or that the kernel does not have, does not.
func TestLRUGenRepairs(t *testing.T) {
	const lockdownRepair = "boot without lockdown: Secure Boot off, no lockdown= on the kernel's command line"
	for _, tc := range []struct {
		name   string
		files  map[string]string // DEBUG is where debugfs belongs
		denied bool
		repair string
	}{
		{name: "not mounted", files: map[string]string{"proc/filesystems": "nodev\tsysfs\nnodev\tdebugfs\n\text4\n", "proc/self/mountinfo": "22 1 0:5 / /sys rw - sysfs sysfs rw\n"},
			repair: "mount -t debugfs debugfs /sys/kernel/debug"},
		{name: "no /proc", repair: "mount -t debugfs debugfs /sys/kernel/debug"},
		{name: "a kernel without debugfs", files: map[string]string{"proc/filesystems": "nodev\tsysfs\n\text4\n"},
			repair: "boot a kernel with CONFIG_DEBUG_FS=y"},
		{name: "a kernel without MGLRU", files: map[string]string{"proc/filesystems": "nodev\tdebugfs\n", "proc/self/mountinfo": "23 1 0:7 / DEBUG rw,nosuid shared:3 - debugfs debugfs rw\n"},
			repair: "boot a kernel with CONFIG_LRU_GEN=y"},
		{name: "there", files: map[string]string{"sys/kernel/debug/lru_gen": ""}},
		{name: "another user", files: map[string]string{"sys/kernel/debug/lru_gen": ""}, denied: true, repair: "run as root"},
		{name: "not locked down", files: map[string]string{"sys/kernel/debug/lru_gen": "", "sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}, denied: true,
			repair: "run as root"},
		{name: "locked down", files: map[string]string{"sys/kernel/debug/lru_gen": "", "sys/kernel/security/lockdown": "none [integrity] confidentiality\n"}, denied: true,
			repair: lockdownRepair},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			debug := filepath.Join(root, "sys/kernel/debug")
			for name, text := range tc.files {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(strings.ReplaceAll(text, "DEBUG", debug)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(debug, "lru_gen")
			r := lruGenRequirement(file, filepath.Join(root, "proc"), filepath.Join(root, "sys"))
			if tc.denied { // root, who may run this, is denied nothing
				err := &os.PathError{Op: "open", Path: file, Err: unix.EPERM}
				r = judgeLRUGen(err, file, filepath.Join(root, "proc"), filepath.Join(root, "sys"))
			}
			if r.Met != (tc.repair == "") || r.Repair != tc.repair || r.Detail == "" {
				t.Errorf("%+v, want the repair %q", r, tc.repair)
			}
		})
	}
}

// TestLRUGenWriteRepairs: root cannot write to a file system that is mounted read-only.
func TestLRUGenWriteRepairs(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{nil, ""}, {unix.EACCES, "run as root"}, {unix.EROFS, writableDebugfs},
	} {
		r := judgeLRUGenWrite(tc.err, "/debug/lru_gen", preflight.Requirement{Met: true})
		if r.Met != (tc.err == nil) || r.Repair != tc.want {
			t.Errorf("%v: %+v, want the repair %q", tc.err, r, tc.want)
		}
	}
}
