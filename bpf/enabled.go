package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// EnabledPath is where MGLRU's switches are.
const EnabledPath = "/sys/kernel/mm/lru_gen/enabled"

// Commands that switch MGLRU on. EnableLeavesRepair leaves bit 0x4 off, with which
// walks before Linux 6.12 do not see all pages; "echo y" would switch it on.
const (
	EnableRepair       = "echo 0x7 > " + EnabledPath
	EnableLeavesRepair = "echo 0x3 > " + EnabledPath
)

// Effects of these commands on the host, where MGLRU was off and where it was on.
const (
	enableEffect = "switches this host's reclaim to MGLRU"
	leavesEffect = "makes MGLRU's walks, reclaim's too, look into every page table"
)

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

// enable sets a bit.
func enable(bit uint64) error {
	old, err := Enabled()
	if err != nil {
		return err
	}
	if old&EnabledCore == 0 {
		return errors.New("MGLRU is disabled: " + EnableRepair)
	}
	if old&bit != 0 {
		return nil
	}
	if err := writeEnabled(old | bit); err != nil {
		return fmt.Errorf("%w; set it beforehand: echo %#x > %s", err, old|bit, EnabledPath)
	}
	now, err := Enabled()
	if err != nil {
		return err
	}
	if now&bit == 0 {
		return fmt.Errorf("%s reads %#x after %#x was written: the kernel does not know this bit", EnabledPath, now, old|bit)
	}
	return nil
}

func writeEnabled(v uint64) error {
	return os.WriteFile(EnabledPath, []byte(fmt.Sprintf("%#04x", v)), 0)
}

// probes has, for each of our bits, the BTF ids of the functions behind it.
type probes map[uint64][]btf.TypeID

func findProbes(kernel *btf.Spec) probes {
	p := probes{}
	for bit, names := range map[uint64][]string{
		EnabledPageProbes:  {"mglru_pte_probe", "mglru_pmd_probe"},
		EnabledRegionProbe: {"mglru_region_probe"},
	} {
		for _, name := range names {
			var f *btf.Func
			if kernel.TypeByName(name, &f) != nil {
				continue // this kernel does not have it
			}
			if id, err := kernel.TypeID(f); err == nil {
				p[bit] = append(p[bit], id)
			}
		}
	}
	return p
}

// disable clears the bits of probes to which no BPF program is attached, ours
// being gone: also what one that was killed has left on. A bit is mere cost where
// nobody watches, so an error leaves all as it is.
//
// Somebody who attaches while we look finds out: the probes are off as their pass
// begins, or ends, and Hooks counts that one as failed. A program that is attached
// as a kprobe is not looked for; the bit is not documented for that.
func (p probes) disable() error {
	used := map[btf.TypeID]bool{}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		if err != nil {
			return fmt.Errorf("look at BPF link %d: %w", links.ID, err)
		}
		// A target in a program or module may have the same id: then a bit is left on.
		if t := info.Tracing(); t != nil {
			used[t.TargetBtfId] = true
		}
	}
	if err := links.Err(); err != nil {
		return fmt.Errorf("list BPF links: %w", err)
	}
	old, err := Enabled()
	if err != nil {
		return err
	}
	now := old
	for bit, ids := range p {
		if !slices.ContainsFunc(ids, func(id btf.TypeID) bool { return used[id] }) {
			now &^= bit
		}
	}
	if now == old {
		return nil
	}
	return writeEnabled(now)
}
