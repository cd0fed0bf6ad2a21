//go:build guest

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/test/vm/guest"
)

const (
	lruGen = "/sys/kernel/debug/lru_gen"
	gib    = Pages * heat.PageSize

	warmUps = Phases
	timed   = 3 * Phases
)

// TestCost ages the same memory in every way that the kernel has. It fails only
// if a way does not work, or finds anything else than all of the pages.
func TestCost(t *testing.T) {
	quiet(t)
	patched := os.Getenv("MGLRU_KERNEL") == "patched"
	t.Run("anon", func(t *testing.T) {
		b := start(t, guest.Anon)
		t.Run(Debugfs, func(t *testing.T) { b.passes(t, Debugfs, false, byDebugfs, nothing) })
		if patched {
			b.patched(t)
		} else {
			t.Run(Stock, func(t *testing.T) { b.stock(t, Stock) })
		}
	})
	if patched {
		return
	}
	t.Run("file", func(t *testing.T) {
		b := start(t, guest.FilePrivate)
		t.Run(Debugfs, func(t *testing.T) { b.passes(t, FileDebugfs, false, byDebugfs, nothing) })
		t.Run(Stock, func(t *testing.T) { b.stock(t, FileStock) })
	})
}

// patched is what only a kernel with our patches has.
func (b *bench) patched(t *testing.T) {
	t.Run(Base, func(t *testing.T) { b.base(t, Base, 0) })
	t.Run(RegionBit, func(t *testing.T) { b.base(t, RegionBit, bpf.EnabledRegionProbe) })
	t.Run(Region, func(t *testing.T) { b.hooks(t, Region, bpf.HooksOptions{}) })
	t.Run(PageBit, func(t *testing.T) { b.base(t, PageBit, bpf.EnabledPageProbes) })
	t.Run(PerPage, func(t *testing.T) { b.hooks(t, PerPage, bpf.HooksOptions{PerPage: true}) })
	t.Run(RFC, func(t *testing.T) { b.rfc(t, RFC, false) })
	t.Run(InPlace, func(t *testing.T) { b.rfc(t, InPlace, true) })
	t.Run(BaseAgain, func(t *testing.T) { b.base(t, BaseAgain, 0) })
}

// quiet has nothing else run while a pass is timed.
func quiet(t *testing.T) {
	t.Helper()
	debug.SetGCPercent(-1)
	clock, _ := os.ReadFile("/sys/devices/system/clocksource/clocksource0/current_clocksource")
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	t.Logf("Linux %s, clocksource %s", strings.TrimSpace(string(release)), strings.TrimSpace(string(clock)))
	if err := os.WriteFile("/sys/kernel/mm/transparent_hugepage/enabled", []byte("never"), 0); err != nil {
		t.Fatal(err)
	}
}

// A bench is a process with 1 GiB of base pages.
type bench struct {
	w *guest.Workload
	m *guest.Mapping
}

// start starts one in a memcg that has as many generations as there can be.
func start(t *testing.T, kind guest.Kind) *bench {
	t.Helper()
	w := guest.StartWorkload(t, "/bench-"+string(kind))
	b := &bench{w: w, m: w.Map(t, guest.Area{Name: "young", Kind: kind, Size: gib})}
	for range 4 {
		b.pass(t, byDebugfs)
	}
	return b
}

// An aging is one way to age a memcg, given by its id for lru_gen and its newest
// generation.
type aging func(t *testing.T, id int, seq uint64)

// passes runs those of one variant: some to warm up, then those that count. After
// each, then is called, whose time does not count. With whole, age is all of a
// pass, and not the aging call alone.
func (b *bench) passes(t *testing.T, variant string, whole bool, age aging, then func(*testing.T)) {
	t.Helper()
	for i := range warmUps + timed {
		r := b.pass(t, age)
		then(t)
		if i < warmUps {
			continue
		}
		r.Variant, r.Whole = variant, whole
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s%s\n", Mark, line)
	}
}

// pass touches all pages, ages them, and checks that the accessed bit was there
// before and gone afterwards, in each of them.
func (b *bench) pass(t *testing.T, age aging) Result {
	t.Helper()
	b.m.TouchAll(t)
	b.wantReferenced(t, gib)
	id, before := b.newest(t)
	runtime.GC()
	fmt.Println(Mark + Go)
	start := time.Now()
	age(t, id, before)
	took := time.Since(start)
	fmt.Println(Mark + Stop)
	b.wantReferenced(t, 0)
	if _, after := b.newest(t); after != before+1 {
		t.Fatalf("generation %d after %d, want the next one", after, before)
	}
	return Result{Seq: before + 1, NS: took.Nanoseconds()}
}

// wantReferenced checks how much of the area has its accessed bit set, and that
// it has no huge page.
func (b *bench) wantReferenced(t *testing.T, want uint64) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", b.w.PID))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bytes := map[string]uint64{}
	inside := false
	in := bufio.NewScanner(f)
	for in.Scan() {
		var from, to uint64
		if n, _ := fmt.Sscanf(in.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from >= b.m.Addr && to <= b.m.Addr+b.m.Size
			continue
		}
		name, value, _ := strings.Cut(in.Text(), ":")
		if kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64); err == nil && inside {
			bytes[name] += kib << 10
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	if got := bytes["Referenced"]; got != want || bytes["Rss"] != gib || bytes["AnonHugePages"] != 0 {
		t.Fatalf("%d bytes referenced, want %d; %d resident, %d of them in huge pages",
			got, want, bytes["Rss"], bytes["AnonHugePages"])
	}
}

// newest returns the memcg's id for lru_gen and its newest generation.
func (b *bench) newest(t *testing.T) (id int, seq uint64) {
	t.Helper()
	f, err := os.Open(lruGen)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	groups, err := memcg.ParseLRUGen(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if g.Path != b.w.Cgroup {
			continue
		}
		if len(g.Nodes) != 1 {
			t.Fatalf("%d nodes, want 1", len(g.Nodes))
		}
		gens := g.Nodes[0].Gens
		return int(g.ID), gens[len(gens)-1].Seq
	}
	t.Fatalf("lru_gen does not list %s", b.w.Cgroup)
	return 0, 0
}

func byDebugfs(t *testing.T, id int, seq uint64) {
	if err := os.WriteFile(lruGen, fmt.Appendf(nil, "+ %d 0 %d 200 1", id, seq), 0); err != nil {
		t.Fatal(err)
	}
}

func nothing(*testing.T) {}

// base ages by bpf_run_aging, as the variants with hooks do, with some probes on
// or none, but nothing attached to them.
func (b *bench) base(t *testing.T, variant string, bits uint64) {
	setProbes(t, bits)
	defer setProbes(t, 0)
	b.passes(t, variant, false, by(load(t, false).BenchAge), nothing)
}

// rfc counts in a hash map.
func (b *bench) rfc(t *testing.T, variant string, inPlace bool) {
	rivals := load(t, inPlace)
	l, err := link.AttachTracing(link.TracingOptions{Program: rivals.CountPte})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	setProbes(t, bpf.EnabledPageProbes)
	defer setProbes(t, 0)
	age := by(rivals.BenchAge)
	drain := func(t *testing.T) {
		if n := b.drain(t, rivals.Regions); n != Pages {
			t.Fatalf("%d pages counted, want %d", n, Pages)
		}
	}
	b.passes(t, variant, false, age, drain)
	b.passes(t, variant, true, func(t *testing.T, id int, seq uint64) { age(t, id, seq); drain(t) }, nothing)
}

// drain takes the counts out key by key, and returns how many pages of the area
// were counted.
func (b *bench) drain(t *testing.T, m *ebpf.Map) (pages int) {
	t.Helper()
	var keys []rivalsRegionKey
	var prev any
	for {
		var key rivalsRegionKey
		err := m.NextKey(prev, &key)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		prev = key
	}
	for _, key := range keys {
		var count rivalsRegionCount
		if err := m.Lookup(key, &count); err != nil {
			t.Fatal(err)
		}
		if err := m.Delete(key); err != nil {
			t.Fatal(err)
		}
		if addr := key.Region * heat.RegionSize; int(key.Pid) == b.w.PID && addr >= b.m.Addr && addr < b.m.Addr+b.m.Size {
			pages += int(count.Accesses)
		}
	}
	return pages
}

// hooks is the product itself.
func (b *bench) hooks(t *testing.T, variant string, opts bpf.HooksOptions) {
	wantProbes(t, 0)
	found := newCounter(b)
	h, err := bpf.OpenHooks(opts, found.add)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		wantProbes(t, 0)
	}()
	if h.PerPage() != opts.PerPage {
		t.Fatalf("PerPage is %v, want %v", h.PerPage(), opts.PerPage)
	}
	if refused, err := h.Watch([]int{b.w.PID}, nil); err != nil || len(refused) > 0 {
		t.Fatalf("watch: %v, %v refused", err, refused)
	}

	// Age cannot tell how long its aging call took, so for these passes that
	// program is run from here; then Age itself, for the passes as a whole.
	finish := program(t, "finish")
	b.passes(t, variant, false, by(program(t, "age")), func(t *testing.T) {
		run(t, finish, uint64(1)<<63) // a cookie that Age never uses
		found.wait(t)
	})
	b.passes(t, variant, true, func(t *testing.T, id int, _ uint64) {
		pass, err := h.Age(context.Background(), id, true, false)
		if err != nil || pass.Lost != 0 {
			t.Fatalf("age: %v, %d records lost", err, pass.Lost)
		}
	}, found.wait)
}

// by ages by running a program that takes the arguments of bench_age.
func by(p *ebpf.Program) aging {
	return func(t *testing.T, id int, _ uint64) {
		run(t, p, rivalsAgeArgs{MemcgId: int32(id), CanSwap: 1})
	}
}

func run(t *testing.T, p *ebpf.Program, args any) {
	t.Helper()
	ret, err := p.Run(&ebpf.RunOptions{Context: args})
	if err != nil {
		t.Fatal(err)
	}
	if ret != 0 {
		t.Fatalf("%v: %v", p, unix.Errno(-int32(ret)))
	}
}

func load(t *testing.T, inPlace bool) *rivalsObjects {
	t.Helper()
	spec, err := loadRivals()
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.Variables["in_place"].Set(inPlace); err != nil {
		t.Fatal(err)
	}
	objs := &rivalsObjects{}
	if err := spec.LoadAndAssign(objs, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := objs.Close(); err != nil {
			t.Error(err)
		}
	})
	return objs
}

// program finds a loaded syscall program by its name.
func program(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	for id := ebpf.ProgramID(0); ; {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); err != nil {
			t.Fatalf("program %s: %v", name, err)
		}
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := p.Info(); err == nil && info.Name == name && info.Type == ebpf.Syscall {
			t.Cleanup(func() { _ = p.Close() }) // of a descriptor alone
			return p
		}
		_ = p.Close() // of a descriptor alone
	}
}

const probes = bpf.EnabledPageProbes | bpf.EnabledRegionProbe

// setProbes turns the probes of the given bits on and all others off.
func setProbes(t *testing.T, bits uint64) {
	t.Helper()
	old, err := bpf.Enabled()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bpf.EnabledPath, fmt.Appendf(nil, "%#x", old&^probes|bits), 0); err != nil {
		t.Fatal(err)
	}
	wantProbes(t, bits)
}

func wantProbes(t *testing.T, want uint64) {
	t.Helper()
	if got, err := bpf.Enabled(); err != nil || got&probes != want {
		t.Fatalf("lru_gen/enabled is %#x, %v, want probes %#x", got, err, want)
	}
}
