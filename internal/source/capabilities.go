package source

import (
	"golang.org/x/sys/unix"
)

// Capabilities returns which of the capabilities held, a bit each, the named source
// needs once it has started. docs/DEPLOYMENT.md says what each is for.
func Capabilities(name string, held uint64) uint64 {
	var need uint64
	a := access{}
	switch name {
	case "hooks", "stock":
		need, a = 1<<unix.CAP_SYS_ADMIN, pagemapAccess()
	case "referenced":
		a = clearRefsAccess()
	}
	for _, c := range a.caps {
		for _, bit := range c.bits { // the first that is held is the least
			if held>>bit&1 != 0 {
				need |= 1 << bit
				break
			}
		}
	}
	if name == "referenced" && need>>unix.CAP_SYS_PTRACE&1 == 0 {
		// On 7.x CAP_PERFMON, a part of CAP_SYS_ADMIN, is enough to look at processes
		// (may_access_mm() in kernel/fork.c).
		need |= 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYS_ADMIN
	}
	return need & held
}
