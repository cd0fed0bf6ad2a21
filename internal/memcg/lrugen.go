package memcg

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// An LRUGen is what the kernel's lru_gen file says of one memcg.
type LRUGen struct {
	// ID is what the file and bpf_run_aging() call the memcg. On 6.1 and 6.12
	// it is the kernel's private number, on 7.3 the inode of its directory.
	ID uint64
	// Path is the memcg's path from the cgroup root.
	Path string
	// Nodes are its nodes, ascending; those without memory are not listed.
	Nodes []LRUGenNode
}

// An LRUGenNode is the pages of one memcg on one node.
type LRUGenNode struct {
	// Node is the NUMA node.
	Node int
	// Gens are its generations, the oldest first; usually two to four.
	Gens []Generation
}

// A Generation is the pages that were last found in use at about one time.
type Generation struct {
	// Seq is its number: aging makes a new generation with the next one.
	Seq uint64
	// Age is how long ago it was made, in whole milliseconds.
	Age time.Duration
	// AnonPages and FilePages are its sizes in pages of the machine. Here the kernel counts
	// shared memory as anon. A kernel that shows a negative size, which
	// per-CPU counters may be for a moment, has 0 pages.
	AnonPages, FilePages uint64
}

// ParseLRUGen parses /sys/kernel/debug/lru_gen, or lru_gen_full beside it,
// whose further lines it skips (lru_gen_seq_show() in mm/vmscan.c). Memcgs are
// in the order of the file, parents before children.
//
// Memcgs that have been removed stay in the file as long as pages are charged
// to them. Those that the kernel shows with id 0 are left out and, of several with
// one path, all but the last: the kernel lists siblings in the order
// in which they were made, so that is the one which lives, if any does.
func ParseLRUGen(r io.Reader) ([]LRUGen, error) {
	var groups []LRUGen
	var slab slab
	p := lruGenParser{
		memcg: func(id uint64, path []byte) {
			groups = append(groups, LRUGen{ID: id, Path: string(path)})
		},
		node: func(node int) {
			g := &groups[len(groups)-1]
			g.Nodes = slab.addNode(g.Nodes, LRUGenNode{Node: node})
		},
		gen: func(gen Generation) {
			g := &groups[len(groups)-1]
			n := &g.Nodes[len(g.Nodes)-1]
			n.Gens = slab.addGen(n.Gens, gen)
		},
	}
	if err := p.parse(r); err != nil {
		return nil, err
	}
	return dropDead(groups), nil
}

// dropDead drops all but the last memcg of each path.
func dropDead(groups []LRUGen) []LRUGen {
	last := make(map[string]int, len(groups))
	for i := range groups {
		last[groups[i].Path] = i
	}
	if len(last) == len(groups) {
		return groups
	}
	out := groups[:0]
	for i := range groups {
		if last[groups[i].Path] == i {
			out = append(out, groups[i])
		}
	}
	return out
}

// A slab hands out the short lists of nodes and generations from long ones.
type slab struct {
	nodes []LRUGenNode
	gens  []Generation
}

// addNode appends to a list that is the last one handed out, or empty.
func (s *slab) addNode(list []LRUGenNode, n LRUGenNode) []LRUGenNode {
	return addTo(&s.nodes, list, n)
}

// addGen is addNode for generations.
func (s *slab) addGen(list []Generation, g Generation) []Generation {
	return addTo(&s.gens, list, g)
}

func addTo[T any](all *[]T, list []T, v T) []T {
	if len(*all) == cap(*all) {
		// The list moves to where it can grow.
		*all = append(make([]T, 0, max(512, 2*len(list))), list...)
	}
	*all = append(*all, v)
	n := len(*all)
	return (*all)[n-len(list)-1 : n : n]
}

// An lruGenParser calls memcg, node and gen for what it finds.
type lruGenParser struct {
	memcg func(id uint64, path []byte)
	node  func(node int)
	gen   func(g Generation)
}

// parse reads all of r.
func (p *lruGenParser) parse(r io.Reader) error {
	b := bufio.NewReaderSize(r, 64<<10)
	state := 0 // 1: in a memcg, 2: in a node of it; -1: in a memcg to be skipped
	for n := 1; ; n++ {
		line, readErr := b.ReadSlice('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return fmt.Errorf("read line %d of lru_gen: %w", n, readErr)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if len(line) > 0 {
			var err error
			if state, err = p.line(line, state); err != nil {
				return fmt.Errorf("line %d of lru_gen: %w", n, err)
			}
		}
		if readErr != nil {
			return nil //nolint:nilerr // it is the end of the file
		}
	}
}

// line takes in a line and returns the state after it.
func (p *lruGenParser) line(line []byte, state int) (int, error) {
	if rest, ok := bytes.CutPrefix(line, []byte("memcg ")); ok {
		word, path := field(rest)
		id, ok := number(word)
		if !ok || id < 0 {
			return 0, fmt.Errorf("%.80q has no memcg id", line)
		}
		if id == 0 {
			return -1, nil
		}
		p.memcg(uint64(id), bytes.TrimPrefix(path, []byte(" ")))
		return 1, nil
	}
	word, rest := field(line)
	if string(word) == "node" {
		word, rest = field(rest)
		node, ok := number(word)
		rest, _ = field(rest)
		if state == 0 || !ok || node < 0 || node > math.MaxInt16 || len(rest) > 0 {
			return 0, fmt.Errorf("%.80q is no node of a memcg", line)
		}
		if state > 0 {
			state = 2
			p.node(int(node))
		}
		return state, nil
	}
	var words [5][]byte
	n := 0
	for rest = line; n < len(words); n++ {
		if words[n], rest = field(rest); len(words[n]) == 0 {
			break
		}
	}
	if state < 0 || n == len(words) {
		return state, nil // statistics of lru_gen_full
	}
	g, ok := generation(words[:n])
	if !ok || state != 2 {
		return 0, fmt.Errorf("%.80q is no generation of a node", line)
	}
	p.gen(g)
	return state, nil
}

// generation parses the four words of a generation.
func generation(words [][]byte) (g Generation, ok bool) {
	if len(words) != 4 {
		return g, false
	}
	var n [4]int64
	for i, w := range words {
		if i >= 2 {
			w = bytes.TrimSuffix(w, []byte("x")) // not a generation of this type any more
		}
		if n[i], ok = number(w); !ok {
			return g, false
		}
	}
	return Generation{
		Seq:       uint64(max(n[0], 0)),
		Age:       time.Duration(min(max(n[1], 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond,
		AnonPages: uint64(max(n[2], 0)),
		FilePages: uint64(max(n[3], 0)),
	}, true
}

// field returns the first run of non-blanks and what follows it.
func field(b []byte) (word, rest []byte) {
	i := 0
	for i < len(b) && b[i] == ' ' {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' {
		j++
	}
	return b[i:j], b[j:]
}

// number parses a decimal number, which may be negative.
func number(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		d := int64(c) - '0'
		if d < 0 || d > 9 || n > (math.MaxInt64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return n, true
}
