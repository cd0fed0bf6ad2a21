//go:build guest

package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of FUSE, and flags, by the names in include/uapi/linux/fuse.h.
const (
	fuseLookup  = 1
	fuseForget  = 2
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRead    = 15
	fuseRelease = 18
	fuseFlush   = 25
	fuseInit    = 26
	fuseIntr    = 36
	fuseForgets = 42

	fopenDirectIO  = 1
	fopenKeepCache = 2

	fuseRoot = 1
	fuseFile = 2

	fuseHeader = 40 // struct fuse_in_header
	fuseMajor  = 7
	fuseMinor  = 31
)

// A SilentFile is a file of a page on a FUSE mount whose server never answers a
// read. From the second time on it is opened for direct I/O.
type SilentFile struct {
	// Path is the file.
	Path string

	dev    *os.File
	done   chan struct{}
	opened int
	read   chan struct{} // closed once a read waits
}

// hasFUSE reports whether the kernel has FUSE.
func hasFUSE() bool {
	b, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(b), "\tfuse\n")
}

// MountSilentFile mounts the file until the test ends, or Release is called.
func MountSilentFile(t testing.TB) *SilentFile {
	t.Helper()
	dir := t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("open /dev/fuse: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("silent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		unix.Close(fd)
		t.Fatalf("mount FUSE: %v", err)
	}
	// Only now: before the mount the device polls as broken, and Go never reads it.
	f := &SilentFile{Path: filepath.Join(dir, "silent"), dev: os.NewFile(uintptr(fd), "/dev/fuse"), done: make(chan struct{}), read: make(chan struct{})}
	go f.serve(t)
	t.Cleanup(func() {
		f.Release()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount FUSE: %v", err)
		}
	})
	return f
}

// Release ends the server: whoever waits for it gets an error. It may be called
// twice.
func (f *SilentFile) Release() {
	_ = f.dev.Close() // an error says that it is closed already
	<-f.done
}

// Stick makes a workload hold its own mmap_lock, for writing, until Release: it
// maps the file for direct I/O, for which the kernel drops the page that
// somebody else is reading, and waits for that read (fuse_file_mmap()). The
// workload answers no further command. Nothing can kill it before Release, which
// ends it with SIGBUS.
func (f *SilentFile) Stick(t testing.TB, w *Workload) {
	t.Helper()
	// Not os.Open: Go polls what it opens, FUSE asks the server about that, and the
	// server, in this process, would wait for the same poller.
	fd, err := unix.Open(f.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", f.Path, err)
	}
	reader := make(chan struct{})
	go func() { // it ends with the server
		defer close(reader)
		defer unix.Close(fd)
		_, _ = unix.Read(fd, make([]byte, pageSize))
	}()
	t.Cleanup(func() {
		f.Release()
		<-reader
	})
	<-f.read
	line := Area{Name: "silent", Kind: FilePrivate, Size: pageSize, Path: f.Path, Exists: true}.command()
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
	AwaitState(t, w.PID, "D")
}

// AwaitState waits until the main thread of a process is in a state, such as "D" for
// uninterruptible sleep.
func AwaitState(t testing.TB, pid int, state string) {
	t.Helper()
	file, is := fmt.Sprintf("/proc/%d/status", pid), ""
	for deadline := time.Now().Add(answerTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(file) // takes no mmap_lock
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nState:\t")
		if is, _, _ = strings.Cut(rest, " "); is == state {
			return
		}
		if is == "Z" {
			break
		}
	}
	t.Fatalf("process %d is in state %q, want %q", pid, is, state)
}

// serve answers requests until the device is closed.
func (f *SilentFile) serve(t testing.TB) {
	defer close(f.done)
	defer f.dev.Close() // requests to a server that is gone fail
	buf := make([]byte, 1<<17)
	for {
		n, err := f.dev.Read(buf)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) { // a request was withdrawn
			continue
		}
		if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.ENODEV) { // released, or unmounted
			return
		}
		if err != nil || n < fuseHeader {
			t.Errorf("read a FUSE request: %d bytes, %v", n, err)
			return
		}
		f.answer(buf[:n])
	}
}

func (f *SilentFile) answer(request []byte) {
	le := binary.LittleEndian
	opcode, unique, node := le.Uint32(request[4:]), le.Uint64(request[8:]), le.Uint64(request[16:])
	var body []any
	errno := unix.Errno(0)
	switch opcode {
	case fuseForget, fuseForgets, fuseIntr:
		return // want no answer
	case fuseRead:
		select {
		case <-f.read:
		default:
			close(f.read)
		}
		return // and never will
	case fuseInit:
		body = []any{fuseInitOut{Major: fuseMajor, Minor: fuseMinor, MaxReadahead: pageSize, MaxWrite: pageSize, TimeGran: 1}}
	case fuseLookup:
		name, _, _ := bytes.Cut(request[fuseHeader:], []byte{0})
		if string(name) != filepath.Base(f.Path) {
			errno = unix.ENOENT
			break
		}
		body = []any{fuseEntry{Node: fuseFile, EntryValid: 3600, AttrValid: 3600}, attrOf(fuseFile)}
	case fuseGetattr:
		body = []any{fuseAttrValid{Valid: 3600}, attrOf(node)}
	case fuseOpen:
		flags := uint32(fopenKeepCache) // else open itself would wait for the page
		if f.opened++; f.opened > 1 {
			flags |= fopenDirectIO
		}
		body = []any{fuseOpened{Flags: flags}}
	case fuseFlush, fuseRelease:
	default:
		errno = unix.ENOSYS
	}
	size := binary.Size(fuseAnswer{})
	for _, part := range body {
		size += binary.Size(part)
	}
	var b bytes.Buffer
	for _, part := range append([]any{fuseAnswer{Len: uint32(size), Error: -int32(errno), Unique: unique}}, body...) {
		_ = binary.Write(&b, le, part) // of fixed size, into memory
	}
	_, _ = f.dev.Write(b.Bytes()) // who asked may be gone
}

// What FUSE's answers are made of, as in include/uapi/linux/fuse.h.
type (
	fuseAnswer struct {
		Len    uint32
		Error  int32
		Unique uint64
	}
	fuseInitOut struct {
		Major, Minor, MaxReadahead, Flags uint32
		MaxBackground, Congestion         uint16
		MaxWrite, TimeGran                uint32
		MaxPages, MapAlignment            uint16
		Flags2                            uint32
		_                                 [7]uint32
	}
	fuseEntry struct {
		Node, Generation, EntryValid, AttrValid uint64
		EntryNsec, AttrNsec                     uint32
	}
	fuseAttrValid struct {
		Valid   uint64
		Nsec, _ uint32
	}
	fuseAttr struct {
		Ino, Size, Blocks, Atime, Mtime, Ctime           uint64
		AtimeNsec, MtimeNsec, CtimeNsec                  uint32
		Mode, Nlink, UID, GID, Rdev, BlockSize, AttrFlag uint32
	}
	fuseOpened struct {
		Handle   uint64
		Flags, _ uint32
	}
)

func attrOf(node uint64) fuseAttr {
	a := fuseAttr{Ino: node, Nlink: 1, BlockSize: pageSize}
	if node == fuseRoot {
		a.Mode = unix.S_IFDIR | 0o755
		return a
	}
	a.Mode, a.Size, a.Blocks = unix.S_IFREG|0o644, pageSize, pageSize/512
	return a
}
