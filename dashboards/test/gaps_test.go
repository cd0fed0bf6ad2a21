package test

// A gap is a metric that is asked for and of which the recording has nothing.
type gap struct {
	// metric is its name, or a selector of some of its series.
	metric string
	// labels are those that it is expected to have; nil for a metric that the
	// exporter has.
	labels []string
	why    string
}

// gaps are all there are: any other query returns data, and these, which are there
// only under circumstances that are not those of the recording, return none. A line
// that is no longer true fails the test.
func gaps() []gap {
	return []gap{
		{"mglru_memcg_container_info", nil, "its memcgs are no containers"},
		{"mglru_excluded_bytes", nil, "all mappings are watched"},
		{`mglru_source_info{source="none"}`, nil, "its source is usable"},
		{`mglru_source_info{source="referenced"}`, nil, "its source is hooks"},
		{"mglru_process_blocked_timestamp_seconds", nil, "no process blocks what reads it"},
		{"mglru_other_walker_active", nil, "nothing but the exporter cleared accessed bits"},
	}
}
