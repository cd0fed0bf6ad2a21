package vm

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed init.sh
var initScript []byte

// An Image is the content of an initramfs. The zero Image is empty.
type Image struct {
	files map[string]file
}

type file struct {
	mode    uint32 // as stat(2) has it
	data    []byte
	path    string // of the data, if data is nil
	rdev    [2]uint32
	ordinal int
}

// File types of stat(2).
const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeFile = 0o100000
	modeLink = 0o120000
)

// Clone returns an image to which files can be added without changing im.
func (im *Image) Clone() *Image { return &Image{files: maps.Clone(im.files)} }

func (im *Image) add(name string, f file) {
	if im.files == nil {
		im.files = map[string]file{}
	}
	name = strings.Trim(path.Clean("/"+name), "/")
	if dir := path.Dir(name); dir != "." {
		if _, ok := im.files[dir]; !ok {
			im.add(dir, file{mode: modeDir | 0o755})
		}
	}
	im.files[name] = f
}

// AddBytes adds a file with the given content, in place of one of that name.
func (im *Image) AddBytes(name string, perm fs.FileMode, data []byte) {
	im.add(name, file{mode: modeFile | uint32(perm.Perm()), data: data})
}

// AddFile adds a copy of the file at path, read when the image is written.
func (im *Image) AddFile(name string, perm fs.FileMode, path string) {
	im.add(name, file{mode: modeFile | uint32(perm.Perm()), path: path})
}

// AddDir adds an empty directory.
func (im *Image) AddDir(name string) { im.add(name, file{mode: modeDir | 0o755}) }

// AddLink adds a symbolic link.
func (im *Image) AddLink(name, target string) {
	im.add(name, file{mode: modeLink | 0o777, data: []byte(target)})
}

// AddTree adds the directory dir of the host, with all that is in it.
func (im *Image) AddTree(name, dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			im.AddDir(to)
		case d.Type().IsRegular():
			info, err := d.Info()
			if err != nil {
				return err
			}
			im.AddFile(to, info.Mode(), p)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			im.AddLink(to, target)
		}
		return nil
	})
}

// WriteFile writes the image with busybox and init as a cpio archive, which the
// kernel takes as an initramfs. It is not compressed: a guest under TCG takes
// longer to inflate it than to copy it.
func (im *Image) WriteFile(name string) error {
	im.add("init", file{mode: modeFile | 0o755, data: initScript})
	im.AddFile("bin/busybox", 0o755, "/bin/busybox")
	im.AddLink("bin/sh", "busybox")
	im.add("dev/console", file{mode: modeChar | 0o600, rdev: [2]uint32{5, 1}})
	return im.writeArchive(name)
}

// writeArchive writes the image alone.
func (im *Image) writeArchive(name string) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	if err := im.write(w); err != nil {
		out.Close()
		return err
	}
	if err := w.Flush(); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// write writes a cpio archive in the "newc" format, directories before what is
// in them.
func (im *Image) write(w io.Writer) error {
	names := make([]string, 0, len(im.files))
	for name := range im.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		f := im.files[name]
		if f.path != "" {
			data, err := os.ReadFile(f.path)
			if err != nil {
				return err
			}
			f.data = data
		}
		f.ordinal = i + 1
		if err := f.write(w, name); err != nil {
			return err
		}
	}
	return file{}.write(w, "TRAILER!!!")
}

func (f file) write(w io.Writer, name string) error {
	links := 1
	if f.mode&modeDir == modeDir {
		links = 2
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		f.ordinal, f.mode, 0, 0, links, 0, len(f.data), 0, 0, f.rdev[0], f.rdev[1], len(name)+1, 0, name)
	for _, part := range [][]byte{[]byte(head), f.data} {
		if _, err := w.Write(part); err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, -len(part)&3)); err != nil {
			return err
		}
	}
	return nil
}
