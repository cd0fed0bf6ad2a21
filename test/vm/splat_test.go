package vm

import "testing"

func TestIsSplat(t *testing.T) {
	for _, line := range []string{
		"WARNING: CPU: 1 PID: 0 at mm/vmscan.c:432 try_to_inc_max_seq+0x67/0x80",
		"WARNING: possible circular locking dependency detected",
		"WARNING: suspicious RCU usage",
		"[    1.234567] BUG: kernel NULL pointer dereference, address: 0000000000000008",
		"BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
		"kernel BUG at mm/memcontrol.c:100!",
		"INFO: possible recursive locking detected",
		"INFO: task kworker/0:1:9 blocked for more than 120 seconds.",
		"Oops: 0000 [#1] PREEMPT SMP",
		"general protection fault, probably for non-canonical address 0xdead000000000108",
		"Call Trace:",
		"list_del corruption, ff1100005e415040->next is LIST_POISON1",
		"Kernel panic - not syncing: Fatal exception",
		"Out of memory: Killed process 100 (workload)",
	} {
		if !isSplat(line) {
			t.Errorf("not taken for a complaint: %s", line)
		}
	}
	for _, line := range []string{
		"reboot: Power down",
		"tsc: Unable to calibrate against PIT",
		"Unstable clock detected, switching default tracing clock to \"global\"",
		"INFO: lockdep is turned off? no such line",
	} {
		if isSplat(line) {
			t.Errorf("taken for a complaint: %s", line)
		}
	}
}
