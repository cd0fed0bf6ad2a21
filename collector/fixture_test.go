package collector_test

import (
	"time"

	"mglru_exporter/internal/heat"
)

// bounds are a shorter list than the default, to keep the golden file readable.
func bounds() []uint64 { return []uint64{0, 64, 512, 2048} }

// histogram makes one of counts, the rest of which are 0.
func histogram(sum uint64, counts ...uint64) heat.Histogram {
	h := heat.Histogram{Since: time.UnixMilli(1_763_760_000_000), Bounds: bounds(), Counts: make([]uint64, len(bounds())+1), Sum: sum}
	copy(h.Counts, counts)
	return h
}

// twoNodes is a snapshot of a host with two NUMA nodes that shows every metric.
func twoNodes() *heat.Snapshot {
	const mib = 1 << 20
	return &heat.Snapshot{
		Source: heat.SourceInfo{Name: "hooks", Granularity: "page"},
		Memcgs: []*heat.MemcgSnapshot{
			{
				Path:         "/system.slice/memcached.service",
				WindowEnd:    time.UnixMilli(1_763_769_930_500),
				WindowPasses: 4,
				IdleAges:     []time.Duration{time.Minute, 90 * time.Second, time.Hour},
				Series: []heat.Series{
					{PID: heat.PIDOther, SwappedBytes: 0, Areas: []heat.Area{
						{Node: 0, Type: heat.Anon, Unobserved: 3 * mib, Resident: 3 * mib, Accesses: histogram(0, 2)},
					}},
					{PID: 4711, Comm: "memcached", SwappedBytes: 12 * mib, Bands: []heat.Band{
						{Accesses: 29_000, Resident: 130 * mib, Start: 0x55d0c3c00000, Mapping: "[heap]"},
						{Start: 0x55d0d3c00000, Mapping: "[heap]"},
						{Accesses: 104, Resident: mib, Start: 0x7f2a5be00000, Mapping: "/usr/lib/a\\012b\xff.so (deleted)"},
					}, Excluded: []heat.Excluded{{Node: 1, Type: heat.Anon, Bytes: 7 * mib}, {Node: -1, Type: heat.File, Bytes: 4096}}, Areas: []heat.Area{
						{Node: 0, Type: heat.Anon, Hot: 16 * mib, Warm: 4 * mib, Cold: 100 * mib, Unobserved: 8 * mib, Resident: 128 * mib, Accesses: histogram(29_100, 40, 7, 3, 14),
							Since: time.UnixMilli(1_763_760_000_000), Idle: []uint64{100 * mib, 90 * mib, 8192}, Reaccessed: []uint64{5 * mib, 4 * mib, 0}, HeatRatio: 0.125, HeatKnown: true,
							Never: []heat.MappingBytes{{Mapping: "[heap]", Bytes: 60 * mib}, {Mapping: "[anon:jemalloc]", Bytes: 8192}, {Mapping: heat.OtherMappings, Bytes: mib}}},
						{Node: 0, Type: heat.File, Hot: 4096, Cold: mib - 4096, Resident: mib, Accesses: histogram(4, 0, 1),
							Idle: []uint64{0, 0, 0}, Reaccessed: []uint64{4096, 0, 0}, HeatRatio: 1, HeatKnown: true,
							Never: []heat.MappingBytes{{Mapping: "/usr/lib/a\\012b\xff.so (deleted)", Bytes: 4096}}},
						{Node: 1, Type: heat.Shmem, Warm: 2 * mib, Resident: 2 * mib, Accesses: histogram(100, 0, 0, 1)},
						{Node: -1, Type: heat.File, Unobserved: 2 * mib, Resident: 2 * mib, Accesses: histogram(0)},
					}},
				},
				Generations: []heat.NodeGenerations{
					{Node: 0, Generations: []heat.Generation{
						{Age: 90_500 * time.Millisecond, AnonBytes: 100 * mib, FileBytes: 3 * mib}, {Age: 1500 * time.Millisecond, AnonBytes: 31 * mib},
					}},
					{Node: 1, Generations: []heat.Generation{{Age: 90 * time.Second, AnonBytes: 2 * mib}}},
				},
				TrackedProcesses: 3,
				TrackedRegions:   69,
				UntrackedRegions: 12,
				Passes: heat.PassStats{
					Since:          time.UnixMilli(1_763_750_000_000),
					Passes:         101,
					Failures:       map[string]uint64{"memcg_gone": 0, "raced": 2},
					DurationBounds: []float64{0.01, 0.1, 1},
					DurationCounts: []uint64{90, 10, 0, 1},
					DurationSum:    3.25,
					Delay:          0.5,
					Records:        1_000_000,
					Lost:           17,
					Skips:          map[string]uint64{"mmap_lock": 3, "not_walked": 0},
					Resets:         map[string]uint64{"exit": 5, "exec": 1, "reused": 0, "moved": 0},
				},
			},
			{
				Path:             `/system.slice/system-getty.slice/getty@tty1\x2done.service`,
				TrackedProcesses: 1,
				Passes: heat.PassStats{
					Failures:       map[string]uint64{"memcg_gone": 0, "raced": 0},
					DurationBounds: []float64{0.01, 0.1, 1},
					DurationCounts: []uint64{0, 0, 0, 0},
					Skips:          map[string]uint64{"mmap_lock": 0, "not_walked": 0},
					Resets:         map[string]uint64{"exit": 0, "exec": 0, "reused": 0, "moved": 0},
				},
			},
			{
				Path:             "/kubepods.slice/kubepods-pod2c48913c_b29f_11e7_9350_020968147796.slice/crio-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope",
				TrackedProcesses: 1,
				Passes: heat.PassStats{
					DurationBounds: []float64{0.01, 0.1, 1},
					DurationCounts: []uint64{0, 0, 0, 0},
				},
			},
		},
		Self: heat.SelfStats{
			Since:          time.UnixMilli(1_763_740_000_000),
			BPFMemoryBytes: 17 * mib,
			CPUSeconds:     map[string]float64{"age": 2.5, "fold": 0.25, "generations": 0.5, "residency": 1.75, "window": 0.125},
			MemcgsMatched:  2,
			MemcgsRemoved:  1,
			OtherWalkers:   []heat.Walker{{Name: "damon", Unobserved: heat.UnobservedAll}, {Name: "damon_stat", Unobserved: heat.UnobservedNone}},
			Blocked:        []heat.BlockedProcess{{PID: 4711, Comm: "fuse\"user", Memcg: "/user.slice", Since: time.UnixMilli(1_763_740_100_500)}},
		},
	}
}
