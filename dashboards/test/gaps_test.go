package test

// A gap is a metric that is asked for and of which the recording has nothing.
type gap struct {
	metric string
	// labels are those that it is expected to have; nil for a metric that the
	// exporter has.
	labels []string
	why    string
}

// gaps are all there are: any other query returns data, and these return none. A
// line that is no longer true fails the test.
func gaps() []gap {
	return append(pending(), notRecorded()...)
}

// pending are metrics that the exporter does not have yet.
func pending() []gap {
	process := []string{"memcg", "pid", "comm", "node", "type"}
	return []gap{
		{"mglru_mapping_never_accessed_bytes", append([]string{"mapping"}, process...), "not exported yet"},
		{"mglru_address_accesses", append([]string{"band"}, process...), "not exported yet"},
		{"mglru_region_accesses", nil, "no native histogram yet"},
	}
}

// notRecorded are metrics that are there only while something is wrong, which it was
// not when the recording was made.
func notRecorded() []gap {
	return []gap{
		{"mglru_other_walker_active", nil, "nothing but the exporter cleared accessed bits"},
	}
}
