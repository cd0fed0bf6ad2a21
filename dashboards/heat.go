package main

// Why sums over processes are no totals.
const shared = " As processes see it: a page that several of them map counts in each, so this is no total of the memcg."

// What panels show that a source cannot fill.
const (
	noHeat  = "No window yet: the first numbers come after one pass, heat after two windows"
	noPages = "No data: the source sees whole mappings only, no pages"
	noAges  = "No data: heat.idle_ages is empty, or the source sees no pages"
)

func memoryHeat() dashboard {
	return newDashboard("mglru-memory-heat", "Memory heat",
		"Which memory is hot, which is cold, for how long, and what taking the cold part away would cost. From mglru_exporter.",
		[]*variable{
			source(),
			choice("instance", "Instance", "mglru_source_info", ""),
			choice("memcg", "Memcg", "mglru_resident_bytes", instanceFilter),
			choice("comm", "Command", "mglru_resident_bytes", memcgFilter),
			choice("pid", "PID", "mglru_resident_bytes", memcgFilter+`, comm=~"$comm"`),
			choice("node", "NUMA node", "mglru_resident_bytes", memcgFilter),
			choice("type", "Type", "mglru_resident_bytes", memcgFilter),
			oneOf("interval", "window", "Window", "How long a window takes: aging.interval times aging.passes_per_window. What is counted by windows has no finer steps.",
				"2m", "30s", "1m", "2m", "5m", "10m", "30m", "1h", "6h"),
			oneOf("custom", "slo", "Promotion SLO", "How much of the working set may come back each minute, as a share: 0.002 is 0.2 %.",
				"0.002", "0.0005", "0.001", "0.002", "0.005", "0.01", "0.05"),
			oneOf("custom", "top", "Top", "How many processes or mappings to show.", "20", "5", "10", "20", "50", "100"),
		},
		row{"Now", heatNow()},
		row{"Heat", heatOverTime()},
		row{"Idle age and promotions", heatIdle()},
		row{"NUMA nodes and types", heatNodes()},
		row{"Processes and mappings", heatProcesses()},
		row{"Address space", heatAddresses()},
		row{"Generations of the kernel", heatGenerations()},
	)
}

func heatNow() []*panel {
	const of = ` / sum(mglru_resident_bytes{SERIES})`
	return []*panel{
		stat("Resident", "Resident bytes of what is selected."+shared, "bytes", noHeat, over("", `sum(mglru_resident_bytes{SERIES})`)),
		stat("Hot", "Share that was accessed in at least hot_fraction of the last window's passes.", "percentunit", noHeat, over("", `sum(mglru_hot_bytes{SERIES})`+of)),
		stat("Warm", "Share that was accessed in some of the last window's passes, but in fewer than make it hot.", "percentunit", noHeat, over("", `sum(mglru_warm_bytes{SERIES})`+of)),
		stat("Cold", "Share that was watched in each of the last window's passes and accessed in none.", "percentunit", noHeat, over("", `sum(mglru_cold_bytes{SERIES})`+of)),
		stat("Unobserved", "Share of which the last window cannot say. It may be hot; the dashboard Exporter health has the reasons.", "percentunit", noHeat, over("", `sum(mglru_unobserved_bytes{SERIES})`+of)),
		stat("Heat ratio", "Moving average of the share of pages that a pass found accessed, weighed by resident bytes.", "percentunit", noPages,
			over("", `sum(mglru_heat_ratio{SERIES} * mglru_resident_bytes{SERIES}) / sum(mglru_resident_bytes{SERIES} and mglru_heat_ratio{SERIES})`)),
	}
}

func heatOverTime() []*panel {
	return []*panel{
		lines("Hot, warm, cold, unobserved", "Resident bytes by what the last window found. Nothing that was missed is cold: it is unobserved."+shared, "bytes", noHeat, 24,
			over("hot", `sum(mglru_hot_bytes{SERIES})`),
			over("warm", `sum(mglru_warm_bytes{SERIES})`),
			over("cold", `sum(mglru_cold_bytes{SERIES})`),
			over("unobserved", `sum(mglru_unobserved_bytes{SERIES})`),
		).stacked().colored("hot", hotColor).colored("warm", warmColor).colored("cold", coldColor).colored("unobserved", unobservedColor),
		heatmap("Accesses per region", "How many 2 MiB regions had how many accesses in a window: pages found accessed, added up over its passes. The lowest row is untouched regions, 512 times the passes one that is in use all over all the time.",
			"short", "short", noPages, 12,
			buckets(`sum by (le) (increase(mglru_region_accesses_bucket{SERIES}[$__rate_interval]))`).perWindow()),
		heatmap("Accesses per region (native histogram)", "The same from native histograms, with finer rows. Prometheus keeps them where it is told to: scrape_native_histograms (3.8 and later) or --enable-feature=native-histograms.",
			"short", "short", "No native histograms: Prometheus must be told to scrape them, and the source must see pages", 12,
			native(`sum(increase(mglru_region_accesses{SERIES}[$__rate_interval]))`).perWindow()),
		lines("Cold share by memcg", "Share of the resident bytes of a memcg's processes that was cold in the last window. What is unobserved is not in it.", "percentunit", noHeat, 12,
			over("{{instance}} {{memcg}}", `sum by (instance, memcg) (mglru_cold_bytes{SERIES}) / sum by (instance, memcg) (mglru_resident_bytes{SERIES})`),
		).upTo(1),
		lines("Cold share by process", "The same by process, those with the largest cold share. pid \"other\" is the processes of a memcg that have no series of their own.", "percentunit", noHeat, 12,
			over("{{instance}} {{memcg}} {{comm}} {{pid}}", `topk($top, sum by (instance, memcg, comm, pid) (mglru_cold_bytes{SERIES}) / sum by (instance, memcg, comm, pid) (mglru_resident_bytes{SERIES}))`),
		).upTo(1),
	}
}

func heatIdle() []*panel {
	return []*panel{
		lines("Idle for at least", "Resident bytes that were not accessed for at least that long. Each line contains those of longer ages, so they do not add up."+shared, "bytes", noAges, 12,
			over("{{min_idle_seconds}} s", `sum by (min_idle_seconds) (mglru_idle_bytes{SERIES})`)),
		heatmap("Idle age", "Resident bytes by how long they have been idle. Rows end at the ages of heat.idle_ages, in seconds; the highest has what is idle for longer, the lowest also what is unobserved."+shared, "s", "bytes", noAges, 12,
			buckets(`sum by (le) (label_replace(`+
				`sum by (instance, memcg) (mglru_resident_bytes{SERIES}) - on (instance, memcg) group_right () sum by (instance, memcg, min_idle_seconds) (mglru_idle_bytes{SERIES})`+
				`, "le", "$1", "min_idle_seconds", "(.*)") or label_replace(`+
				`sum by (instance, memcg) (mglru_resident_bytes{SERIES} and on (instance, memcg) mglru_idle_bytes{SERIES}), "le", "+Inf", "", ""))`)),
		lines("Promotion rate by age", "What would have come back each minute, had all memory idle for that long been taken away, as a share of the working set (hot and warm). The dashed line is the SLO of the variable; 0.2 % a minute is what Google's far memory used (Lagar-Cavilla et al., ASPLOS 2019).", "percentunit", noAges, 12,
			over("{{min_idle_seconds}} s", `60 * sum by (min_idle_seconds) (rate(mglru_reaccessed_bytes_total{SERIES}[$__rate_interval])) / scalar(sum(mglru_hot_bytes{SERIES}) + sum(mglru_warm_bytes{SERIES}))`).perWindow(),
			over("SLO", `vector($slo)`),
		).limit("SLO"),
		lines("Reaccessed", "Bytes a second that were accessed after they had been idle for at least that long. Each line contains those of longer ages.", "Bps", noAges, 12,
			over("{{min_idle_seconds}} s", `sum by (min_idle_seconds) (rate(mglru_reaccessed_bytes_total{SERIES}[$__rate_interval]))`).perWindow()),
	}
}

func heatNodes() []*panel {
	return []*panel{
		lines("Resident by node and type", "Resident bytes by NUMA node and type."+shared, "bytes", noHeat, 8,
			over("node {{node}} {{type}}", `sum by (node, type) (mglru_resident_bytes{SERIES})`)).stacked(),
		lines("Hot by node and type", "Hot bytes by NUMA node and type."+shared, "bytes", noHeat, 8,
			over("node {{node}} {{type}}", `sum by (node, type) (mglru_hot_bytes{SERIES})`)).stacked(),
		lines("Hot memory off its node", "Share of a memcg's hot bytes that is on another node than most hot bytes of the same process, of processes with series of their own. Where processes work on several nodes by design, that is no fault.", "percentunit", "No data: no hot memory on a node that is known", 8,
			over("{{instance}} {{memcg}}", `1 - sum by (instance, memcg) (max by (instance, memcg, comm, pid) (sum by (instance, memcg, comm, pid, node) (mglru_hot_bytes{PROCESS, node!="unknown", pid!~"|other"}))) / sum by (instance, memcg) (mglru_hot_bytes{PROCESS, node!="unknown", pid!~"|other"})`),
		).upTo(1),
	}
}

func heatProcesses() []*panel {
	const (
		by      = `sum by (instance, memcg, comm, pid) `
		coldest = `topk($top, ` + by + `(mglru_cold_bytes{SERIES}))`
	)
	return []*panel{
		table("Top cold processes", "Processes with the most cold bytes.", noHeat, "Cold", 14,
			[]column{
				{"instance", "Instance", ""}, {"memcg", "Memcg", ""}, {"comm", "Command", ""}, {"pid", "PID", ""},
				{"Value #A", "Cold", "bytes"}, {"Value #B", "Resident", "bytes"}, {"Value #C", "Cold share", "percentunit"}, {"Value #D", "Unobserved", "bytes"}, {"Value #E", "Swapped", "bytes"},
			},
			now(coldest),
			now(by+`(mglru_resident_bytes{SERIES}) and `+coldest),
			now(by+`(mglru_cold_bytes{SERIES}) / `+by+`(mglru_resident_bytes{SERIES}) and `+coldest),
			now(by+`(mglru_unobserved_bytes{SERIES}) and `+coldest),
			now(by+`(mglru_swapped_bytes{PROCESS}) and `+coldest)),
		table("Mappings never accessed", "Mappings with the most resident bytes that have been watched for long and never accessed.", "No data: nothing has been watched for long enough, or the source sees no pages", "Never accessed", 10,
			[]column{{"instance", "Instance", ""}, {"memcg", "Memcg", ""}, {"comm", "Command", ""}, {"pid", "PID", ""}, {"mapping", "Mapping", ""}, {"Value", "Never accessed", "bytes"}},
			now(`topk($top, sum by (instance, memcg, comm, pid, mapping) (mglru_mapping_never_accessed_bytes{SERIES}))`)),
	}
}

func heatAddresses() []*panel {
	const empty = "No data: address_bands is not set for the memcg, or the source sees no pages"
	return []*panel{
		heatmap("Accesses by address", "Accesses in each window by place in the address space: all that a process has mapped, divided into bands in the order of addresses. Pick one process: bands of several add up to nothing of use. On only for memcgs with address_bands in the config.",
			"short", "short", empty, 14,
			over("{{band}}", `sum by (band) (mglru_address_accesses{PROCESS})`)),
		heatmap("Resident by address", "Resident bytes in the same bands: one without any was not accessed because there was nothing to access.",
			"short", "bytes", empty, 10,
			over("{{band}}", `sum by (band) (mglru_address_resident_bytes{PROCESS})`)),
		table("Bands", "Which mapping has most of a band, and what is in it.", empty, "Accesses", 24,
			[]column{
				{"instance", "Instance", ""}, {"memcg", "Memcg", ""}, {"comm", "Command", ""}, {"pid", "PID", ""}, {"band", "Band", ""}, {"mapping", "Mapping", ""},
				{"Value #B", "Resident", "bytes"}, {"Value #C", "Accesses", "short"},
			},
			now(`max by (instance, memcg, comm, pid, band, mapping) (mglru_address_band_info{PROCESS})`),
			now(`sum by (instance, memcg, comm, pid, band) (mglru_address_resident_bytes{PROCESS})`),
			now(`sum by (instance, memcg, comm, pid, band) (mglru_address_accesses{PROCESS})`)),
	}
}

func heatGenerations() []*panel {
	const empty = "No data: the kernel's lru_gen file cannot be read"
	return []*panel{
		lines("Bytes by generation", "Bytes by the kernel's own generations, from the oldest, 0, which it reclaims first. Each page counts once, in the memcg it is charged to. The variables for processes and types do not apply.", "bytes", empty, 12,
			over("{{generation}}", `sum by (generation) (mglru_generation_bytes{NODE})`)).stacked(),
		lines("Age of generations", "Seconds since the kernel made a generation: the greatest of the memcgs selected.", "s", empty, 12,
			over("{{generation}}", `max by (generation) (mglru_generation_age_seconds{NODE})`)),
	}
}
