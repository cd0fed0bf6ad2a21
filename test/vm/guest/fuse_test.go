//go:build guest

package guest

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
)

// TestSilentFile: a workload that sticks in the file blocks whoever reads its smaps,
// and only as long as the server is there. Since 6.16 maps takes no mmap_lock.
func TestSilentFile(t *testing.T) {
	if !hasFUSE() {
		t.Log("this kernel has no FUSE built in")
		return
	}
	w := StartWorkload(t, "/test/silent")
	f := MountSilentFile(t)
	f.Stick(t, w)
	var smaps bytes.Buffer
	reader := exec.Command("cat", fmt.Sprintf("/proc/%d/smaps_rollup", w.PID))
	reader.Stdout = &smaps
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	AwaitState(t, reader.Process.Pid, "D")
	if smaps.Len() != 0 {
		t.Errorf("%d bytes of smaps_rollup were read meanwhile", smaps.Len())
	}
	f.Release()
	if err := reader.Wait(); err != nil || smaps.Len() == 0 {
		t.Errorf("%d bytes of smaps_rollup after that: %v", smaps.Len(), err)
	}
	if err := w.cmd.Wait(); err == nil { // the page that it touches next is an error
		t.Error("the workload ended without a signal")
	}
}
