package process

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"mglru_exporter/internal/heat"
)

// Identify says who a process is at this moment, from /proc/PID/stat. The pid
// must be that of a process (a thread group), not of one of its threads.
//
// TGID is pid itself: it is the process's id in the initial PID namespace
// only if the FS was mounted there. Start is field 22, in clock ticks since
// boot. Comm is raw: any bytes but NUL, newlines and parentheses included.
//
// Image is a hash of where exec has put the program: start and end of code,
// data, arguments and environment, the start of the stack and of the heap
// (fields 26-28 and 45-51). Address space layout randomisation moves them at
// every exec. It has three limits. With randomisation off
// (kernel.randomize_va_space=0, or setarch -R), exec of the same binary with
// the same arguments and environment is not told apart. A process that moves
// its own argument area by prctl(PR_SET_MM), as systemd does to set its title,
// looks like a new image once. Without permission to trace the process the
// fields read as constants (do_task_stat() in fs/proc/array.c), so exec is
// never seen.
//
// The errors are ErrGone and ErrNoMemory, or that stat could not be read or
// understood.
func (f FS) Identify(pid int) (heat.Process, error) {
	st, err := f.stat(f.dir(pid))
	if err != nil {
		return heat.Process{}, err
	}
	image := &st
	if !st.hasMemory() {
		_, thread, err := f.liveThread(pid, &st)
		if err != nil {
			return heat.Process{}, err
		}
		image = &thread
	}
	return heat.Process{
		ProcessID: heat.ProcessID{TGID: pid, Start: st.start, Image: image.image()},
		Comm:      st.comm,
	}, nil
}

// A stat is what is needed of /proc/PID/stat.
type stat struct {
	comm    string
	state   byte
	threads uint64
	start   uint64
	vsize   uint64
	layout  [10]uint64
}

// Fields of /proc/PID/stat, numbered from 1 as in proc_pid_stat(5).
const (
	fieldState   = 3
	fieldThreads = 20
	fieldStart   = 22
	fieldVsize   = 23
	fieldCode    = 26 // start_code, end_code, start_stack
	fieldStack   = 28
	fieldData    = 45 // start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end
	fieldEnv     = 51
)

// stat reads the stat file in a process's or thread's directory.
func (f FS) stat(dir string) (stat, error) {
	var room [1024]byte
	path := dir + "/stat"
	b, err := readFile(path, room[:0])
	if err != nil {
		return stat{}, err
	}
	st, err := parseStat(b)
	if err != nil {
		return stat{}, fmt.Errorf("parse %s: %w", path, err)
	}
	return st, nil
}

// parseStat parses /proc/PID/stat. The name is between the first and the last
// parenthesis, since it may itself hold any of them, and blanks and newlines.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no name in parentheses in %.80q", b)
	}
	st := stat{comm: string(b[open+1 : end])}
	rest := bytes.TrimRight(b[end+1:], "\n")
	for i := fieldState; i <= fieldEnv; i++ {
		var field []byte
		field, rest = cutField(rest)
		var to *uint64
		switch {
		case i == fieldState:
			if len(field) != 1 {
				return stat{}, fmt.Errorf("field %d, the state, is %.20q", i, field)
			}
			st.state = field[0]
			continue
		case i == fieldThreads:
			to = &st.threads
		case i == fieldStart:
			to = &st.start
		case i == fieldVsize:
			to = &st.vsize
		case i >= fieldCode && i <= fieldStack:
			to = &st.layout[i-fieldCode]
		case i >= fieldData:
			to = &st.layout[i-fieldData+fieldStack-fieldCode+1]
		default:
			continue
		}
		n, ok := parseUint(field)
		if !ok {
			return stat{}, fmt.Errorf("field %d is %.20q, not a number", i, field)
		}
		*to = n
	}
	return st, nil
}

// hasMemory tells whether the task has an address space. Its size is shown to
// everybody, unlike the layout, and is zero without one.
func (st *stat) hasMemory() bool {
	return st.vsize != 0 && st.state != 'Z' && st.state != 'X' && st.state != 'x'
}

// image hashes the layout of the program.
func (st *stat) image() uint64 {
	h := fnv.New64a()
	var b [8]byte
	for _, n := range st.layout {
		binary.LittleEndian.PutUint64(b[:], n)
		h.Write(b[:])
	}
	return h.Sum64()
}
