package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/source"
)

// keepAll is the name for all capabilities.
const keepAll = "all"

// capabilityNames are the capabilities of include/uapi/linux/capability.h by number.
func capabilityNames() []string {
	return strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
		linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module
		sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time
		sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog
		wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore`)
}

// parseCapabilities returns a bit for each named capability. Names are as in
// capabilities(7), with or without CAP_, in upper or lower case.
func parseCapabilities(names []string) (mask uint64, err error) {
	known := capabilityNames()
	for _, name := range names {
		if strings.EqualFold(name, keepAll) {
			return ^uint64(0), nil
		}
		bit := slices.Index(known, strings.TrimPrefix(strings.ToLower(name), "cap_"))
		if bit < 0 {
			return 0, fmt.Errorf("--capabilities.keep: %q is no capability, want a name such as CAP_NET_BIND_SERVICE, or all", name)
		}
		mask |= 1 << bit
	}
	return mask, nil
}

// namesOf returns the names of capabilities, separated by blanks.
func namesOf(mask uint64) string {
	var names []string
	for i, name := range capabilityNames() {
		if mask>>i&1 != 0 {
			names = append(names, "CAP_"+strings.ToUpper(name))
		}
	}
	return strings.Join(names, " ")
}

// bindsLow reports whether an address to listen on has a port below 1024.
func bindsLow(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(address string) bool {
		_, port, err := net.SplitHostPort(address)
		n, numErr := strconv.Atoi(port)
		return err == nil && numErr == nil && n > 0 && n < 1024
	})
}

// capData is the kernel's struct __user_cap_data_struct, twice: version 3 has 64 bits.
type capData [2]unix.CapUserData

func (d *capData) set(get func(*unix.CapUserData) *uint32, mask uint64) {
	*get(&d[0]), *get(&d[1]) = uint32(mask), uint32(mask>>32)
}

func (d *capData) permitted() uint64 { return uint64(d[0].Permitted) | uint64(d[1].Permitted)<<32 }

// dropCapabilities takes all capabilities from all threads but what the source needs,
// and those to be kept, and lets no program that is executed gain any. It returns what
// is left.
func dropCapabilities(name string, keep uint64) (left uint64, err error) {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &capData{}
	if err := unix.Capget(header, &data[0]); err != nil {
		return 0, fmt.Errorf("read our capabilities: %w", err)
	}
	held := data.permitted()
	left = held & (source.Capabilities(name, held) | keep)
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return held, fmt.Errorf("set no_new_privs: %w", threadsError(errno))
	}
	data.set(func(d *unix.CapUserData) *uint32 { return &d.Permitted }, left)
	data.set(func(d *unix.CapUserData) *uint32 { return &d.Effective }, left)
	data.set(func(d *unix.CapUserData) *uint32 { return &d.Inheritable }, 0)
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)), 0); errno != 0 {
		return held, fmt.Errorf("drop capabilities: %w", threadsError(errno))
	}
	return left, nil
}

// errCgo says that Go cannot make a system call on all threads of this binary.
var errCgo = errors.New("this binary is linked with cgo; build it with CGO_ENABLED=0")

func threadsError(errno syscall.Errno) error {
	if errno == syscall.ENOTSUP {
		return os.NewSyscallError("AllThreadsSyscall", errCgo)
	}
	return errno
}
