package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// libraries is where the image has shared libraries, and this machine those of
// Debian's: the dynamic linker looks there without being told.
const libraries = "/lib/x86_64-linux-gnu"

// AddProgram adds the program at path with the dynamic linker and the shared
// libraries that it names, and those that these name. Libraries are taken from
// dirs, the first that has one, or else from this machine's own. What a program
// opens only while it runs it does not get.
func (im *Image) AddProgram(name, path string, dirs ...string) error {
	im.AddFile(name, 0o755, path)
	dirs = append(dirs, libraries, "/usr"+libraries)
	for todo := []string{path}; len(todo) > 0; todo = todo[1:] {
		linker, names, err := needs(todo[0])
		if err != nil {
			return fmt.Errorf("%s: %w", todo[0], err)
		}
		if linker != "" {
			im.AddFile(linker, 0o755, linker)
		}
		for _, library := range names {
			to := filepath.Join(libraries, library)
			if _, ok := im.files[strings.Trim(to, "/")]; ok {
				continue
			}
			at, err := find(library, dirs)
			if err != nil {
				return fmt.Errorf("%s needs %w", todo[0], err)
			}
			im.AddFile(to, 0o755, at)
			todo = append(todo, at)
		}
	}
	return nil
}

// needs returns the dynamic linker and the libraries that a program or a library
// names.
func needs(path string) (linker string, names []string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(p.Open())
			if err != nil {
				return "", nil, err
			}
			linker = strings.TrimRight(string(text), "\x00")
		}
	}
	names, err = f.ImportedLibraries()
	return linker, names, err
}

func find(library string, dirs []string) (string, error) {
	for _, dir := range dirs {
		at := filepath.Join(dir, library)
		if _, err := os.Stat(at); err == nil {
			return at, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s, which is not in %s", library, strings.Join(dirs, ", "))
}
