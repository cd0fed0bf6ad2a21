package memcg

import (
	"bytes"
	"slices"
	"strings"
)

// A mount is what is needed of a line of /proc/PID/mountinfo.
type mount struct {
	root    string // what of the file system is mounted
	point   string // where
	fs      string // the kind of file system
	options string // of the file system, with commas
}

// isCgroup tells whether the mount may show memcgs: a cgroup2, or a cgroup v1
// that has the memory controller.
func (m *mount) isCgroup() bool {
	return m.fs == "cgroup2" || m.fs == "cgroup" && slices.Contains(strings.Split(m.options, ","), "memory")
}

// outside tells whether what is mounted is outside of our cgroup namespace. It
// shows with "..", and its path is not known.
func (m *mount) outside() bool { return slices.Contains(strings.Split(m.root, "/"), "..") }

// visibleMounts returns the mounts in a mountinfo file that no later one has been mounted
// on. A container that has the host's cgroups as a volume has it on its own mount of
// them: a look at the mount point sees the volume.
func visibleMounts(b []byte) []mount {
	var all []mount
	last := map[string]int{}
	for line := range bytes.Lines(b) {
		if m, ok := parseMount(line); ok {
			last[m.point] = len(all)
			all = append(all, m)
		}
	}
	visible := all[:0]
	for i, m := range all {
		if last[m.point] == i {
			visible = append(visible, m)
		}
	}
	return visible
}

// parseMount parses a line of mountinfo, false if it is none:
//
//	35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
func parseMount(line []byte) (mount, bool) {
	head, tail, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" - "))
	h, t := bytes.Split(head, []byte(" ")), bytes.Split(tail, []byte(" "))
	if !ok || len(h) < 6 || len(t) < 3 {
		return mount{}, false
	}
	return mount{root: unescape(h[3]), point: unescape(h[4]), fs: unescape(t[0]), options: unescape(t[2])}, true
}

// unescape replaces the octal escapes, such as \040, by which the kernel
// writes blanks, newlines and backslashes (mangle_path() in fs/seq_file.c).
func unescape(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && b[i+1] <= '3' && isOctal(b[i+1]) && isOctal(b[i+2]) && isOctal(b[i+3]) {
			out = append(out, (b[i+1]-'0')<<6|(b[i+2]-'0')<<3|(b[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, b[i])
	}
	return string(out)
}

func isOctal(c byte) bool { return '0' <= c && c <= '7' }
