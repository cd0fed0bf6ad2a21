package ui_test

import (
	"math"

	"mglru_exporter/internal/api"
)

// memcached is what the page is looked at with: values are put in for fifteen
// windows, and then read in a Gaussian pattern about the middle.
func memcached() *proc {
	const slab, heap, values, shared = 8, 40, 640, 48
	return &proc{
		Process: api.Process{PID: 4211, Comm: "memcached", Memcg: "/system.slice/memcached.service"},
		mappings: []mapping{
			{"/usr/bin/memcached", slab}, {"[heap]", heap}, {"[anon:values]", values}, {"/dev/shm/stats", shared},
			{"/usr/lib/x86_64-linux-gnu/libc.so.6", 6}, {"[stack]", 2},
		},
		cell: func(r, w int) cell {
			// From 0 to 1, of no pattern, and the same each time.
			noise := math.Mod(math.Abs(math.Sin(float64(r)*12.9898+float64(w)*78.233)*43758.5453), 1)
			at := float64(r-slab-heap) / values
			switch {
			case r < slab:
				return share(0.3+0.3*noise, 512, 0, 0, 0)
			case r < slab+heap:
				return share(0.75+0.25*noise, 512, 512, 0, 0)
			case r >= slab+heap+values+shared:
				return share(0.5+0.5*noise, 320, 0, 1, 0)
			case r >= slab+heap+values:
				return unseen(share(0.02*noise, 512, 0, 1, 0), 512)
			}
			node := 0
			if at > 0.6 {
				node = 1
			}
			touched := int(at * 15)
			switch {
			case touched > w:
				return cell{}
			case w == touched:
				return unseen(share(1, 512, 512, node, 0), 300)
			case w < 15:
				return share(0, 512, 512, node, float64(w-touched)*window.Seconds())
			}
			heat := math.Exp(-math.Pow((at-0.45)/0.11, 2)) * (0.75 + 0.25*noise)
			if heat < 0.01 {
				c := share(0, 512, 512, node, float64(w-touched)*window.Seconds())
				if at > 0.9 && w > 30 && w < 44 {
					return unseen(c, 300)
				}
				return c
			}
			return share(heat, 512, 512, node, 0)
		},
	}
}

// share is a cell whose pages were accessed in a share of the passes, all told.
func share(heat float64, pages, anon uint32, node int, idle float64) cell {
	hot := uint32(heat * heat * float64(pages))
	warm := min(pages-hot, uint32(heat*float64(pages)))
	return cell{
		accesses: uint64(heat * passes * float64(pages)),
		pages:    pages, hot: hot, warm: warm, cold: pages - hot - warm, anon: anon, node: node, idle: idle,
	}
}

// unseen makes pages of a cell unobserved, the cold ones first.
func unseen(c cell, pages uint32) cell {
	for _, from := range []*uint32{&c.cold, &c.warm, &c.hot} {
		n := min(*from, pages)
		*from -= n
		pages -= n
	}
	return c
}

// plain is a process of one mapping per name, with 100 regions each: first all
// hot, the second all cold, the third all unobserved, the fourth not resident in
// the newest window, over and over.
func plain(pid int, comm string, names ...string) *proc {
	p := &proc{Process: api.Process{PID: pid, Comm: comm, Memcg: "/test/" + comm}}
	for _, name := range names {
		p.mappings = append(p.mappings, mapping{name, 100})
	}
	p.cell = func(r, w int) cell {
		switch r / 100 % 4 {
		case 0:
			return share(1, 512, 512, 0, 0)
		case 1:
			return share(0, 512, 0, 1, 600)
		case 2:
			return unseen(share(0, 512, 0, 0, 0), 512)
		}
		return cell{}
	}
	return p
}

// others fill the list.
func others() []*proc {
	var out []*proc
	for i, p := range []api.Process{
		{Comm: "postgres", Memcg: "/system.slice/postgresql.service", Hot: 310, Warm: 420, Cold: 2900, Unobserved: 12},
		{Comm: "java", Memcg: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod7d1c.slice/cri-9f3a.scope", Hot: 900, Warm: 1400, Cold: 1150, Unobserved: 300},
		{Comm: "prometheus", Memcg: "/system.slice/prometheus.service", Hot: 150, Warm: 200, Cold: 640},
		{Comm: "redis-server", Memcg: "/system.slice/redis.service", Hot: 60, Warm: 45, Cold: 410, Unobserved: 4},
		{Comm: "nginx", Memcg: "/system.slice/nginx.service", Hot: 12, Warm: 9, Cold: 31, Unobserved: 40},
		{Comm: "systemd-journal", Memcg: "/system.slice/systemd-journald.service", Hot: 1, Warm: 3, Cold: 24},
		{Comm: "dbus-daemon", Memcg: "/system.slice/dbus.service", Warm: 1, Cold: 3},
	} {
		p.PID = 812 + 377*i
		p.Hot, p.Warm, p.Cold, p.Unobserved = p.Hot<<20, p.Warm<<20, p.Cold<<20, p.Unobserved<<20
		p.Resident = p.Hot + p.Warm + p.Cold + p.Unobserved
		p.Windows = 60
		out = append(out, &proc{Process: p, mappings: []mapping{{"[heap]", 10}}, cell: func(int, int) cell { return share(0.1, 512, 512, 0, 0) }})
	}
	return out
}
