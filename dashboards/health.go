package main

func exporterHealth() dashboard {
	return newDashboard("mglru-exporter-health", "Exporter health",
		"Whether the numbers of mglru_exporter can be trusted, and what they cost.",
		[]*variable{
			source(),
			choice("instance", "Instance", "mglru_source_info", ""),
			choice("memcg", "Memcg", "mglru_passes_total", instanceFilter),
			oneOf("custom", "budget", "CPU budget", "aging.cpu_budget of the config: how much of one CPU passes may use.",
				"0.02", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"),
		},
		row{"Now", healthNow()},
		row{"Passes and windows", healthPasses()},
		row{"What was missed", healthMissed()},
		row{"Cost", healthCost()},
		row{"Exporters", healthExporters()},
	)
}

const nothingYet = "No data: is the exporter scraped?"

func healthNow() []*panel {
	return []*panel{
		stat("Exporters", "How many exporters are scraped.", "short", nothingYet, over("", `count(mglru_source_info{INSTANCE})`)),
		stat("Oldest window", "Age of the oldest window of a memcg that has processes. All bytes by heat are of its end.", "s", "No window yet",
			over("", `max(time() - mglru_last_window_timestamp_seconds{MEMCG} and on (instance, memcg) mglru_tracked_processes{MEMCG} > 0)`)).badFrom(900),
		stat("Failed passes", "Share of passes with a failure in the last 15 minutes. Passes of memcgs that were removed, and memcgs that do not exist, are not in it.", "percentunit", nothingYet,
			over("", `sum(rate(mglru_pass_failures_total{MEMCG, reason!~"memcg_gone|memcg_missing"}[15m])) / sum(rate(mglru_passes_total{MEMCG}[15m]))`)).badFrom(0.05),
		stat("Lost records", "Harvest records that were lost in the last 15 minutes, of which there must be none. What they told of is unobserved.", "short", nothingYet,
			over("", `sum(increase(mglru_records_lost_total{MEMCG}[15m]))`)).badFrom(1),
		stat("Series dropped", "Series left out in the last 15 minutes because of limits.max_series, counted once for each window that was scraped.", "short", nothingYet,
			over("", `sum(increase(mglru_series_dropped_total{INSTANCE}[15m]))`)).badFrom(1),
		stat("Config not reloaded", "Exporters that use an older configuration than the one in their file, because that is not valid.", "short", nothingYet,
			over("", `count(mglru_config_last_reload_successful{INSTANCE}) - sum(mglru_config_last_reload_successful{INSTANCE})`)).badFrom(1),
	}
}

func healthPasses() []*panel {
	const noPass = "No pass yet"
	return []*panel{
		lines("Age of windows", "How long ago each memcg's last window ended. Between two windows it grows to the window's length.", "s", "No window yet", 8,
			over("{{instance}} {{memcg}}", `time() - mglru_last_window_timestamp_seconds{MEMCG}`)),
		lines("Passes", "Aging passes a minute, failed ones included.", "short", noPass, 8,
			over("{{instance}} {{memcg}}", `60 * sum by (instance, memcg) (rate(mglru_passes_total{MEMCG}[$__rate_interval]))`)),
		lines("Passes per window", "Passes in the last window. One alone says nothing about cold memory, except with the source referenced.", "short", "No window yet", 8,
			over("{{instance}} {{memcg}}", `mglru_window_passes{MEMCG}`)),
		heatmap("Duration of passes", "How many passes took how long, on all nodes together.", "s", "short", noPass, 8,
			buckets(`sum by (le) (increase(mglru_pass_duration_seconds_bucket{MEMCG}[$__rate_interval]))`)),
		lines("Duration of passes, mean and quantiles", "How long passes took. Quantiles are as fine as the histogram's buckets.", "s", noPass, 8,
			over("mean", `sum(rate(mglru_pass_duration_seconds_sum{MEMCG}[$__rate_interval])) / sum(rate(mglru_pass_duration_seconds_count{MEMCG}[$__rate_interval]))`),
			over("50 %", `histogram_quantile(0.5, sum by (le) (rate(mglru_pass_duration_seconds_bucket{MEMCG}[$__rate_interval])))`),
			over("99 %", `histogram_quantile(0.99, sum by (le) (rate(mglru_pass_duration_seconds_bucket{MEMCG}[$__rate_interval])))`)),
		lines("Delay of passes", "Seconds by which passes began late, in each second: for want of CPU budget, or because of another memcg's pass. At 0.5 passes come half as often as the config asks.", "percentunit", noPass, 8,
			over("{{instance}} {{memcg}}", `sum by (instance, memcg) (rate(mglru_pass_delay_seconds_total{MEMCG}[$__rate_interval]))`)),
	}
}

func healthMissed() []*panel {
	return []*panel{
		lines("Unobserved share", "Share of the resident bytes of which the last window cannot say whether they were accessed. They are never counted as cold.", "percentunit", "No window yet", 8,
			over("{{instance}} {{memcg}}", `sum by (instance, memcg) (mglru_unobserved_bytes{MEMCG}) / sum by (instance, memcg) (mglru_resident_bytes{MEMCG})`)).upTo(1),
		lines("Skipped walks", "Times that memory was passed over without being looked at, by reason: it is unobserved.", "cps", nothingYet, 8,
			over("{{reason}}", `sum by (reason) (rate(mglru_skipped_walks_total{MEMCG}[$__rate_interval]))`)),
		lines("Failures", "Failures in passes, by reason. What a failed pass did not see is unobserved.", "cps", nothingYet, 8,
			over("{{reason}}", `sum by (reason) (rate(mglru_pass_failures_total{MEMCG}[$__rate_interval]))`)),
		lines("Records", "Harvest records a second: one tells of one 2 MiB region. Lost ones found the ring buffer full.", "cps", nothingYet, 8,
			over("taken in", `sum(rate(mglru_records_total{MEMCG}[$__rate_interval]))`),
			over("lost", `sum(rate(mglru_records_lost_total{MEMCG}[$__rate_interval]))`)).colored("lost", limitColor),
		lines("Processes whose history was dropped", "By reason: they exited, ran another program, had their pid reused, or moved.", "cps", nothingYet, 8,
			over("{{reason}}", `sum by (reason) (rate(mglru_process_resets_total{MEMCG}[$__rate_interval]))`)),
		lines("Left out by the config", "Resident bytes in mappings that the memcg's regions in the config do not name. No other metric counts them.", "bytes", "None: no memcg has regions in the config", 8,
			over("{{instance}} {{memcg}}", `sum by (instance, memcg) (mglru_excluded_bytes{MEMCG})`)),
		lines("Memcgs removed", "Memcgs that were removed while they were watched, each second.", "cps", nothingYet, 8,
			over("{{instance}}", `rate(mglru_memcgs_removed_total{INSTANCE}[$__rate_interval])`)),
		lines("Other walkers", "Other features of the kernel that clear accessed bits, and what each leaves unobserved: none, shared or all memory.", "short", "None was seen", 8,
			over("{{instance}} {{walker}}: {{unobserved}}", `mglru_other_walker_active{INSTANCE}`)),
	}
}

func healthCost() []*panel {
	return []*panel{
		lines("CPU by part", "How much of one CPU watching takes, by part, over all exporters selected; scrapes are not in it. The dashed line is the budget of the variable, for one exporter.", "percentunit", nothingYet, 8,
			over("{{part}}", `sum by (part) (rate(mglru_cpu_seconds_total{INSTANCE}[$__rate_interval]))`),
			over("budget", `vector($budget)`)).stacked().limit("budget"),
		lines("CPU by exporter", "How much of one CPU the whole process takes, scrapes included, and watching alone.", "percentunit", nothingYet, 8,
			over("{{instance}} process", `rate(process_cpu_seconds_total{INSTANCE}[$__rate_interval]) and on (job, instance) mglru_source_info{INSTANCE}`),
			over("{{instance}} watching", `sum by (instance) (rate(mglru_cpu_seconds_total{INSTANCE}[$__rate_interval]))`)),
		lines("Memory", "Resident bytes of the exporter, what of it past windows for heatmaps take, and kernel memory of its BPF maps and programs.", "bytes", nothingYet, 8,
			over("{{instance}} resident", `process_resident_memory_bytes{INSTANCE} and on (job, instance) mglru_source_info{INSTANCE}`),
			over("{{instance}} heatmaps", `mglru_heatmap_bytes{INSTANCE}`),
			over("{{instance}} BPF", `mglru_bpf_memory_bytes{INSTANCE}`)),
		lines("Tracked processes", "Processes that are watched, and those that have no heatmap for want of room.", "short", nothingYet, 8,
			over("{{instance}} {{memcg}}", `mglru_tracked_processes{MEMCG}`),
			over("{{instance}} without heatmap", `mglru_heatmap_omitted_processes{INSTANCE}`)),
		lines("Tracked regions", "2 MiB regions that are tracked page by page, and those that are unobserved because limits.max_tracked_bytes leaves no room for them. Each that is tracked takes about 1,000 bytes of the exporter's memory.", "short", nothingYet, 8,
			over("{{instance}} {{memcg}}", `mglru_tracked_regions{MEMCG}`),
			over("{{instance}} {{memcg}} without room", `mglru_untracked_regions{MEMCG}`)),
		lines("Series", "Samples in a scrape, those about the exporter's own process included, and series left out because of limits.max_series, for each window that was scraped.", "short", nothingYet, 8,
			over("{{instance}} scraped", `scrape_samples_scraped{INSTANCE} and on (job, instance) mglru_source_info{INSTANCE}`),
			over("{{instance}} dropped", `increase(mglru_series_dropped_total{INSTANCE}[$__rate_interval])`)),
		lines("Duration of scrapes", "How long Prometheus waited for /metrics.", "s", nothingYet, 8,
			over("{{instance}}", `scrape_duration_seconds{INSTANCE} and on (job, instance) mglru_source_info{INSTANCE}`)),
	}
}

func healthExporters() []*panel {
	return []*panel{
		table("Exporters", "What each exporter watches with, its version, and when it last read its configuration.", nothingYet, "Instance", 24,
			[]column{
				{"instance", "Instance", ""}, {"source", "Source", ""}, {"granularity", "Granularity", ""}, {"version", "Version", ""}, {"revision", "Revision", ""},
				{"Value #B", "Memcgs", "short"}, {"Value #C", "Processes", "short"}, {"Value #D", "Configuration read", "dateTimeFromNow"},
			},
			now(`max by (instance, source, granularity, version, revision) (mglru_source_info{INSTANCE} * on (job, instance) group_left (version, revision) mglru_build_info)`),
			now(`count by (instance) (mglru_tracked_processes{INSTANCE})`),
			now(`sum by (instance) (mglru_tracked_processes{INSTANCE})`),
			now(`1000 * max by (instance) (mglru_config_last_reload_success_timestamp_seconds{INSTANCE})`)),
	}
}
