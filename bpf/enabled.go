package bpf

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// EnabledPath is where MGLRU's switches are.
const EnabledPath = "/sys/kernel/mm/lru_gen/enabled"

// Bits of EnabledPath. The last two are of our patches, off by default, and
// never turned on by writing "y".
const (
	EnabledCore         = 0x0001
	EnabledWalk         = 0x0002
	EnabledNonleafYoung = 0x0004
	EnabledPageProbes   = 0x0008
	EnabledRegionProbe  = 0x0010
)

// Enabled reads the bits of EnabledPath.
func Enabled() (uint64, error) {
	b, err := os.ReadFile(EnabledPath)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", EnabledPath, err)
	}
	return v, nil
}

// enable sets a bit and returns what takes it back, if this call has set it. An
// exporter that is killed leaves the bit on, which costs a little and does no
// other harm.
func enable(bit uint64) (restore func(), err error) {
	old, err := Enabled()
	if err != nil {
		return nil, err
	}
	if old&EnabledCore == 0 {
		return nil, fmt.Errorf("MGLRU is disabled: echo 0x7 > %s", EnabledPath)
	}
	if old&bit != 0 {
		return nil, nil
	}
	if err := writeEnabled(old | bit); err != nil {
		return nil, fmt.Errorf("%w; set it beforehand: echo %#x > %s", err, old|bit, EnabledPath)
	}
	now, err := Enabled()
	if err != nil {
		return nil, err
	}
	if now&bit == 0 {
		return nil, fmt.Errorf("%s reads %#x after %#x was written: the kernel does not know this bit", EnabledPath, now, old|bit)
	}
	return func() {
		if now, err := Enabled(); err == nil {
			_ = writeEnabled(now &^ bit) // a switch left on is mere cost
		}
	}, nil
}

func writeEnabled(v uint64) error {
	return os.WriteFile(EnabledPath, []byte(fmt.Sprintf("%#04x", v)), 0)
}
