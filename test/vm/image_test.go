package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImage has cpio read what write wrote.
func TestImage(t *testing.T) {
	im := &Image{}
	im.AddBytes("/src/a/b.txt", 0o640, []byte("hello"))
	im.AddLink("bin/sh", "busybox")
	im.AddFile("mod", 0o644, filepath.Join(Root(), "go.mod"))
	im.AddDir("empty")
	var archive bytes.Buffer
	if err := im.write(&archive); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, test := range []struct{ args, want string }{
		{"cpio -i --quiet", ""},
		{"find . -type f -o -type d -empty -o -type l -printf '%p -> %l\\n'", "./bin/sh -> busybox\n"},
		{"cat src/a/b.txt", "hello"},
		{"stat -c %A src src/a src/a/b.txt empty", "drwxr-xr-x\ndrwxr-xr-x\n-rw-r-----\ndrwxr-xr-x\n"},
		{"cmp mod " + filepath.Join(Root(), "go.mod"), ""},
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", test.args)
		cmd.Dir = dir
		cmd.Stdin = bytes.NewReader(archive.Bytes())
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != test.want {
			t.Errorf("%s: want %q, got %q, %v", test.args, test.want, out, err)
		}
	}
}

func TestJobScript(t *testing.T) {
	script := jobScript([]Job{{Name: "a", Args: []string{"echo", "it's", "$HOME", ""}}, {Name: "b", Dir: "/src", Args: []string{"true"}}})
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `job() { printf '<%s>' "$@"; echo; }; . /dev/stdin`)
	cmd.Stdin = bytes.NewReader(script)
	out, err := cmd.CombinedOutput()
	if want := "<a></><echo><it's><$HOME><>\n<b></src><true>\n"; err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
		t.Errorf("want %q, got %q, %v", want, out, err)
	}
}

// TestAddProgram runs a program of this machine with nothing but what the image
// has of it.
func TestAddProgram(t *testing.T) {
	im := &Image{}
	if err := im.AddProgram("bin/bash", "/bin/bash"); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := im.write(&archive); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "cpio", "-i", "--quiet")
	unpack.Dir = dir
	unpack.Stdin = &archive
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	linker, _, err := needs("/bin/bash")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), filepath.Join(dir, linker), "--inhibit-cache", "--library-path", filepath.Join(dir, libraries),
		"--list", filepath.Join(dir, "bin/bash"))
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := 0
	for line := range strings.Lines(string(out)) {
		if _, at, ok := strings.Cut(line, "=> "); ok {
			found++
			if !strings.HasPrefix(at, dir) {
				t.Errorf("not in the image: %s", line)
			}
		}
	}
	if found < 2 { // libtinfo and libc
		t.Errorf("%d libraries found:\n%s", found, out)
	}
}

func TestAddProgramErrors(t *testing.T) {
	im := &Image{}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec true forever\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := im.AddProgram("x", script); err == nil || !strings.Contains(err.Error(), script+": bad magic number") {
		t.Errorf("a script: %v", err)
	}
	if at, err := find("libnone.so.1", []string{"/a", "/b"}); err == nil || err.Error() != "libnone.so.1, which is not in /a, /b" {
		t.Errorf("no such library: %q, %v", at, err)
	}
}
