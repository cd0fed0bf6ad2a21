package process

import (
	"context"
	"encoding/binary"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"mglru_exporter/internal/heat"
)

const gib = 1 << 30

// perGiB reports the CPU time of a benchmark's loop, of which each iteration
// has read size bytes of resident memory, for a GiB. Unlike ns/op it does not
// grow with what else the machine does.
func perGiB(b *testing.B, size int, loop func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() int64 {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := cpu()
	loop()
	if size > 0 {
		b.ReportMetric(float64(cpu()-start)/float64(b.N)*gib/float64(size), "cpu-ns/GiB")
	}
}

func BenchmarkResidency(b *testing.B) {
	const size = 1 * gib
	small := func(b *testing.B, size int) []byte {
		mem := mmap(b, -1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
		return mem
	}
	for _, bench := range []struct {
		name     string
		resident int
		make     func(b *testing.B)
	}{
		{"1GiB-4KiB-pages", size, func(b *testing.B) { write(small(b, size), all) }},
		{"1GiB-huge-pages", size, func(b *testing.B) {
			mem := mmap(b, -1, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
			write(mem, all)
		}},
		{"256MiB-shmem", size / 4, func(b *testing.B) {
			write(mmap(b, memfd(b, size/4, 0), size/4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED), all)
		}},
		{"256MiB-every-4th-page", size / 4, func(b *testing.B) { write(small(b, size), func(i int) bool { return i%4 == 0 }) }},
		{"16TiB-hole", 0, func(b *testing.B) {
			mem := mmap(b, -1, 16<<40, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
			mem[9<<40] = 1
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := liveReader(b)
			bench.make(b)
			var res heat.Residency
			if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			perGiB(b, bench.resident, func() {
				for b.Loop() {
					if err := r.Read(context.Background(), os.Getpid(), &res); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	const n = windowPages
	for _, bench := range []struct {
		name  string
		entry func(i uint64) uint64
	}{
		{"one-run", func(i uint64) uint64 { return anonPage(5000 + i) }},
		{"nodes-interleaved", func(i uint64) uint64 { return anonPage(5000 + i + i%2*300000) }},
		{"types-interleaved", func(i uint64) uint64 { return anonPage(5000+i) | i%2*pmFile }},
		{"all-interleaved", func(i uint64) uint64 { return anonPage(5000+i+i%2*300000) | i/2%2*pmFile }},
		{"swapped", func(i uint64) uint64 { return swapped(0, i) }},
		{"hole", func(uint64) uint64 { return 0 }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			buf := make([]byte, n*8)
			for i := range uint64(n) {
				binary.LittleEndian.PutUint64(buf[i*8:], bench.entry(i))
			}
			m := newNodeMap([]zone{{nodeSpan: nodeSpan{1, 262144, 0}}, {nodeSpan: nodeSpan{262144, 524256, 1}}})
			id := fileID{inode: 5}
			d := decoder{nodes: m, flags: &pageFlags{path: "/nonexistent"}, types: map[fileID]heat.Type{id: heat.File}}
			var res heat.Residency
			v := VMA{Inode: 5, Perms: [4]byte([]byte("rw-p"))}
			b.ReportAllocs()
			perGiB(b, n*heat.PageSize, func() {
				for b.Loop() {
					res.Parts = res.Parts[:0]
					d.reset(&res, 77)
					d.enter(&v)
					if err := d.decode(buf, base); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkParseMaps(b *testing.B) {
	text := testdata(b, "vm-1node/maps")
	var vmas []VMA
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var err error
		if vmas, err = parseMaps(text, vmas); err != nil {
			b.Fatal(err)
		}
	}
}
