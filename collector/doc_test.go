package collector_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"

	"mglru_exporter/collector"
)

// A note is what docs/METRICS.md says of a metric beyond its descriptor.
type note struct {
	// plain is one sentence that a tired person understands.
	plain string
	// unit is that of its values.
	unit string
	// trap is what it is mistaken for.
	trap string
	// query is PromQL that uses it; dashboards/test asks it of a Prometheus.
	query string
}

const shareTrap = "Shared pages count in every process that maps them: do not sum processes to a total of the memcg."

var notes = map[string]note{
	"mglru_hot_bytes": {
		"Memory that was in use all through the last window.", "bytes",
		"A page needs to be accessed once a pass to be hot, not often: hot says nothing of bandwidth. A huge page is hot as a whole. " + shareTrap,
		`topk(10, sum by (memcg, pid, comm) (mglru_hot_bytes))`,
	},
	"mglru_warm_bytes": {
		"Memory that was used in the last window, now and then.", "bytes",
		"With the source `referenced` nothing is ever warm, because a window is one pass.",
		`sum by (memcg) (mglru_warm_bytes) / sum by (memcg) (mglru_resident_bytes)`,
	},
	"mglru_cold_bytes": {
		"Memory that nobody touched through a mapping in the whole last window.", "bytes",
		"Cold for one window (two minutes by default) is not cold for good: look at `mglru_idle_bytes` before you take memory away. `read()` and `write()` of files do not count as touching. " + shareTrap,
		`sum by (memcg) (mglru_cold_bytes) / sum by (memcg) (mglru_resident_bytes)`,
	},
	"mglru_unobserved_bytes": {
		"Memory of which we cannot say whether it was used.", "bytes",
		"It may be hot: never count it as cold. All of a process is unobserved in its first window. `mglru_skipped_walks_total` and `mglru_pass_failures_total` tell why.",
		`sum by (memcg) (mglru_unobserved_bytes) / sum by (memcg) (mglru_resident_bytes)`,
	},
	"mglru_resident_bytes": {
		"Memory of the process that is in RAM: hot + warm + cold + unobserved.", "bytes",
		"It has hugetlb pages, which the kernel's RSS has not; with `regions` in the config it is that of the selected mappings. " + shareTrap,
		`sum by (node, type) (mglru_resident_bytes)`,
	},
	"mglru_swapped_bytes": {
		"Memory of the process that is in swap (or zswap).", "bytes",
		"Shared memory that is swapped out is not in it.",
		`topk(10, mglru_swapped_bytes)`,
	},
	"mglru_excluded_bytes": {
		"Memory that we did not look at because the config said so.", "bytes",
		"Only memcgs with `regions` in the config have it.",
		`sum by (memcg) (mglru_excluded_bytes)`,
	},
	"mglru_region_accesses": {
		"How hard the 2 MiB pieces of a process are used: a histogram, for heatmaps.", "pages found accessed, added up over the passes of a window: 0 to 512 × passes",
		"It grows once a window, so ask for rates and increases over two windows or more. Prometheus keeps the classic buckets beside the native histogram only with `always_scrape_classic_histograms: true`.",
		`sum by (le) (increase(mglru_region_accesses_bucket[10m]))`,
	},
	"mglru_idle_bytes": {
		"Memory that has not been used for at least so long.", "bytes; `min_idle_seconds` is in seconds",
		"Each age contains the longer ones: never sum over `min_idle_seconds`. After a start of the exporter it takes as long as the age to show anything. " + shareTrap,
		`sum by (memcg) (mglru_idle_bytes{min_idle_seconds="600"})`,
	},
	"mglru_reaccessed_bytes_total": {
		"Memory that came back into use after it had not been used for so long: what you would have paid for taking it away.", "bytes",
		"Each age contains the longer ones. Divide its rate by the working set for the promotion rate of the far-memory literature.",
		`sum by (memcg, min_idle_seconds) (rate(mglru_reaccessed_bytes_total[30m]))`,
	},
	"mglru_heat_ratio": {
		"How much of the memory a pass finds in use, smoothed.", "ratio, 0 to 1",
		"Weigh it by bytes when you average over processes. It says nothing of unobserved memory.",
		`sum by (memcg) (mglru_heat_ratio * mglru_resident_bytes) / sum by (memcg) (mglru_resident_bytes)`,
	},
	"mglru_mapping_never_accessed_bytes": {
		"Memory that nobody has used since we began watching: allocations that could perhaps go altogether.", "bytes",
		"What was accessed before the exporter began is never accessed to it: let it run through a whole business cycle. " + shareTrap,
		`topk(10, sum by (comm, mapping) (mglru_mapping_never_accessed_bytes))`,
	},
	"mglru_address_accesses": {
		"How hard each part of the process's address space is used.", "pages found accessed, added up over the passes of a window",
		"Band 7 of one process has nothing to do with band 7 of another. Only memcgs with `address_bands` in the config have it.",
		`mglru_address_accesses / on (memcg, pid, comm, band) (mglru_address_resident_bytes / 4096)`,
	},
	"mglru_address_resident_bytes": {
		"How much of each part of the process's address space is in RAM.", "bytes",
		"Its sum is less than `mglru_resident_bytes` where memory was not looked at page by page.",
		`mglru_address_resident_bytes > 0`,
	},
	"mglru_address_band_info": {
		"What lies in each part of the process's address space.", "always 1",
		"Only the mapping with the most bytes in the band is named.",
		`mglru_address_accesses * on (memcg, pid, comm, band) group_left (mapping) mglru_address_band_info`,
	},
	"mglru_generation_bytes": {
		"The kernel's own idea of age: how much memory each of its generations has.", "bytes",
		"The kernel counts shared memory as anon here. Each page counts once, so this one may be summed over memcgs.",
		`sum by (memcg) (mglru_generation_bytes{generation="0"})`,
	},
	"mglru_generation_age_seconds": {
		"How old the kernel's generations are.", "seconds",
		"Our own passes make generations: they are never older than four passes or so.",
		`max by (memcg) (mglru_generation_age_seconds)`,
	},
	"mglru_memcg_container_info": {
		"Which container and pod a memcg is.", "always 1",
		"cAdvisor's label `id` is our `memcg`; kube-state-metrics puts a scheme before its `container_id`.",
		`sum by (memcg) (mglru_cold_bytes) * on (memcg) group_left (container_id, pod_uid) mglru_memcg_container_info`,
	},
	"mglru_passes_total": {
		"How often we had the kernel age the memcg.", "passes",
		"Failed ones count too. Empty memcgs are not aged.",
		`rate(mglru_passes_total[10m])`,
	},
	"mglru_pass_duration_seconds": {
		"How long passes take.", "seconds",
		"It is time, not CPU time; that is in `mglru_cpu_seconds_total`.",
		`histogram_quantile(0.99, sum by (le) (rate(mglru_pass_duration_seconds_bucket[1h])))`,
	},
	"mglru_pass_failures_total": {
		"Passes, or parts of them, that went wrong, and why.", "failures",
		"What a failed pass missed is unobserved for a window, so failures show in `mglru_unobserved_bytes`.",
		`sum by (memcg, reason) (increase(mglru_pass_failures_total[1h])) > 0`,
	},
	"mglru_pass_delay_seconds_total": {
		"How late passes are, for want of CPU budget.", "seconds",
		"A rate near 1 means that `aging.cpu_budget` is far too small for what is to be aged.",
		`rate(mglru_pass_delay_seconds_total[10m])`,
	},
	"mglru_records_total": {
		"What the kernel side reported.", "records",
		"One record is one region in one pass, with one page found accessed or all of them.",
		`rate(mglru_records_total[10m])`,
	},
	"mglru_records_lost_total": {
		"What was harvested and never arrived.", "records",
		"Any increase means that memory reads unobserved, not only of this memcg; where nobody knows whose it was, of all.",
		`increase(mglru_records_lost_total[1h]) > 0`,
	},
	"mglru_skipped_walks_total": {
		"What the kernel did not look at, and why.", "times",
		"Some mappings are never walked (locked, hugetlb …), so it rises for them with every pass.",
		`sum by (reason) (rate(mglru_skipped_walks_total[10m]))`,
	},
	"mglru_process_resets_total": {
		"Processes whose history started over, and why.", "processes",
		"A process that lives for less than a window never shows any heat.",
		`sum by (reason) (rate(mglru_process_resets_total[10m]))`,
	},
	"mglru_tracked_processes": {
		"How many processes are watched.", "processes",
		"Those merged into `pid=\"other\"` count.",
		`sum(mglru_tracked_processes)`,
	},
	"mglru_tracked_regions": {
		"How many 2 MiB regions are tracked.", "regions of 2 MiB",
		"Regions with one resident page count as much as full ones.",
		`sum(mglru_tracked_regions) * 2 * 1024 * 1024`,
	},
	"mglru_untracked_regions": {
		"How many 2 MiB regions there is no room to track.", "regions of 2 MiB",
		"`limits.max_tracked_bytes` is for all memcgs together; within one, the processes with the least resident memory go without.",
		`mglru_untracked_regions > 0`,
	},
	"mglru_last_window_timestamp_seconds": {
		"When the memcg's numbers were last renewed.", "seconds since 1970",
		"Bytes by heat stay as they are until the next window ends, however often they are scraped.",
		`time() - mglru_last_window_timestamp_seconds`,
	},
	"mglru_window_passes": {
		"How many passes the last window had.", "passes",
		"The first window has one, and finds nothing cold.",
		`mglru_window_passes`,
	},
	"mglru_source_info": {
		"What measures.", "always 1",
		"With granularity `mapping` there are no regions, idle ages or heatmaps. While no source is usable both labels are `none`.",
		`mglru_source_info`,
	},
	"mglru_other_walker_active": {
		"Other features of the kernel that clear accessed bits, such as DAMON.", "always 1",
		"`unobserved` is `none`, `shared` (memory of several processes) or `all`; with `none` the walker costs nothing.",
		`mglru_other_walker_active{unobserved!="none"}`,
	},
	"mglru_process_blocked_timestamp_seconds": {
		"Processes whose memory cannot be read.", "seconds since the epoch",
		"All memory of such a process is unobserved. It holds its own mmap_lock, for example in a page fault on a file system whose server does not answer. At most 256 of them are listed.",
		`time() - mglru_process_blocked_timestamp_seconds > 60`,
	},
	"mglru_cpu_seconds_total": {
		"What watching costs, by part.", "seconds of CPU time",
		"Scrapes and the heatmap page are not in it; `process_cpu_seconds_total` has all. The parts: `age` (the kernel's walk, or clear_refs), `discover` (looking for cgroups), `fold` (taking in records), `garbage` (Go's collector), `generations` (reading lru_gen), `processes` (who is in a memcg), `publish` (making snapshots), `residency` (reading pagemap), `window` (classing pages). All of it is charged to `aging.cpu_budget`.",
		`sum(rate(mglru_cpu_seconds_total[10m]))`,
	},
	"mglru_bpf_memory_bytes": {
		"What watching takes of the kernel's memory.", "bytes",
		"It is not in the exporter's RSS, or only in part.",
		`mglru_bpf_memory_bytes`,
	},
	"mglru_heatmap_bytes": {
		"What the past windows of heatmaps take.", "bytes",
		"Bounded by `limits.max_heatmap_bytes`.",
		`mglru_heatmap_bytes`,
	},
	"mglru_heatmap_omitted_processes": {
		"Processes without a heatmap, for want of room.", "processes",
		"Their metrics are as exact as the others'.",
		`mglru_heatmap_omitted_processes > 0`,
	},
	"mglru_memcgs_matched": {
		"How many memcgs the exporter watches.", "memcgs",
		"At 0 the config matches nothing: the log names each of its paths, and what may have been meant.",
		`mglru_memcgs_matched == 0`,
	},
	"mglru_memcgs_omitted": {
		"Memcgs left unwatched because there are too many.", "memcgs",
		"They have no series at all, so nothing else tells of them.",
		`mglru_memcgs_omitted > 0`,
	},
	"mglru_memcgs_removed_total": {
		"Watched memcgs that have gone.", "memcgs",
		"Normal where containers come and go.",
		`rate(mglru_memcgs_removed_total[1h])`,
	},
	"mglru_series_dropped_total": {
		"Series that `limits.max_series` kept from you.", "series, counted again for each snapshot that is scraped",
		"A rise means that whole processes are missing, the smallest first.",
		`increase(mglru_series_dropped_total[1h]) > 0`,
	},
	"mglru_config_last_reload_successful": {
		"Whether the configuration in use is the one in the file.", "1 or 0",
		"After 0 the older configuration goes on; the log says what is wrong with the new one.",
		`mglru_config_last_reload_successful == 0`,
	},
	"mglru_config_last_reload_success_timestamp_seconds": {
		"When the configuration was last read with success.", "seconds since 1970",
		"",
		`time() - mglru_config_last_reload_success_timestamp_seconds`,
	},
	"mglru_http_rejections_total": {
		"What somebody on the network did too much of.", "requests, connections or streams",
		"`body` are requests with a body, which is never read: some clients send one without harm.",
		`sum by (instance, reason) (increase(mglru_http_rejections_total[1h]))`,
	},
	"mglru_build_info": {
		"Which build runs.", "always 1",
		"",
		`count by (version) (mglru_build_info)`,
	},
}

// TestDocumentation makes docs/METRICS.md of the descriptors of all metrics and of
// what notes say of them. Users build upon names, types, labels and HELP, which
// it holds, too.
func TestDocumentation(t *testing.T) {
	families := gather(t, collector.New(fixed(twoNodes()), all()), reload(), heatmap(), rejections(), versioncollector.NewCollector("mglru"))
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Generated from the metrics' descriptors by "go test ./collector -update": change those, or collector/doc_test.go. -->

[Passes](../README.md) have the kernel harvest accessed bits, some passes make a window, and at the end of a window each resident page is
hot, warm, cold or unobserved. The labels pid and comm can be turned off in the configuration; node is "unknown" where it is not
known, and pid "other" stands for the processes beyond a memcg's largest. Beside these there are ` + "`go_*`, `process_*` and `promhttp_*`" + ` of the exporter itself.

Prometheus gets OpenMetrics, where each counter and histogram has a series more, ` + "`…_created`" + `: when it began to count. With the feature flag
` + "`created-timestamp-zero-ingestion`" + ` Prometheus takes these as start times, and stores them as series without it. All series of one snapshot, those with
the label memcg and those of the source, are the same in each scrape of it.
`)
	for _, f := range families {
		n, ok := notes[f.GetName()]
		if !ok {
			t.Errorf("%s has no note: what would you tell somebody about it at four in the morning?", f.GetName())
			continue
		}
		if n.plain == "" || n.unit == "" || !strings.Contains(n.query, f.GetName()) {
			t.Errorf("%s: plain sentence %q, unit %q, query %q: each has to say something, the query of this metric", f.GetName(), n.plain, n.unit, n.query)
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "\n## %s\n\n**%s**\n\n%s\n\n", f.GetName(), n.plain, f.GetHelp())
		fmt.Fprintf(&b, "- Type: %s\n- Unit: %s\n", strings.ToLower(f.GetType().String()), n.unit)
		if len(labels) > 0 {
			fmt.Fprintf(&b, "- Labels: %s\n", strings.Join(labels, ", "))
		}
		if n.trap != "" {
			fmt.Fprintf(&b, "- Beware: %s\n", n.trap)
		}
		fmt.Fprintf(&b, "\n```promql\n%s\n```\n", n.query)
	}
	for name := range notes {
		if !strings.Contains(b.String(), "## "+name+"\n") {
			t.Errorf("there is a note on %s, which is no metric", name)
		}
	}
	golden(t, "../../docs/METRICS.md", b.String())

	described := make(chan *prometheus.Desc, 100)
	collector.New(fixed(nil), all()).Describe(described)
	if n := len(described) + 6; n != len(families) { // 2 of the reload, 2 of heatmaps, 1 of the build, 1 of HTTP
		t.Errorf("%d families are described, but the fixture shows %d: extend it", n, len(families))
	}
}
