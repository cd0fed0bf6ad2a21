package vm

import (
	"bytes"
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
