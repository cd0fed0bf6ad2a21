package heat

// A Kind says what a Record tells.
type Kind uint8

// The kinds of records.
const (
	// KindYoung: the pages in Young of the region at Start were found young.
	KindYoung Kind = iota + 1
	// KindSkip: the pass's walk could not look at [Start, End); Reason says why.
	KindSkip
	// KindWalk: the pass's walk on Node takes the process up. A process without
	// one for each node that the pass aged was not looked at.
	KindWalk
)

// A Record is one fact that a source harvested.
type Record struct {
	Kind Kind
	// Other is set when not our pass found the pages young but another walker,
	// such as kswapd. They were accessed all the same.
	Other bool
	// TGID is the process id in the initial PID namespace.
	TGID int
	// Node is the NUMA node whose pages the walk was after.
	Node int
	// Reason is a source's word for why it skipped, as in the label of
	// mglru_skipped_walks_total.
	Reason string
	// Start and End bound the addresses; Start of KindYoung is aligned to a
	// region.
	Start, End uint64
	// Anon and NotAnon are the young pages by PageAnon().
	Anon, NotAnon Bitmap
}

// Take takes in one record. It reports whether it knows the process.
func (t *Tracker) Take(r *Record) bool {
	switch r.Kind {
	case KindYoung:
		young := r.Anon
		young.Or(&r.NotAnon)
		return t.Fold(r.TGID, r.Start/RegionSize, &young)
	case KindSkip:
		t.Skip(r.TGID, r.Start, r.End)
	case KindWalk:
		t.Walked(r.TGID, r.Node)
	}
	return t.Tracks(r.TGID)
}
