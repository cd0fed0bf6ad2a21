package source

import (
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/name"
)

// recentFor is how long what lru_gen said of memcgs that were not asked for is
// good for: long enough for the first pass of them all.
const recentFor = 10 * time.Second

// A genCache remembers what to write to lru_gen to age a memcg: reading the file
// costs a tenth of a second where there are a thousand of them.
type genCache struct {
	file string
	mu   sync.Mutex
	// known are those that have been asked for, recent all as the file was
	// last read.
	known  map[string]*generations
	recent map[string]*generations
	readAt time.Time
}

// generations are a memcg's id and its youngest generation on each node.
type generations struct {
	inode uint64
	id    uint64
	seqs  map[int]uint64
}

func newGenCache(file string) *genCache {
	return &genCache{file: file, known: map[string]*generations{}}
}

// lookup returns the generations of a memcg, and whether they have just been
// read. They must not be changed.
func (c *genCache) lookup(path string, inode uint64) (g generations, fresh bool, err error) {
	c.mu.Lock()
	if g := c.known[path]; g != nil && g.inode == inode {
		defer c.mu.Unlock()
		return g.clone(), false, nil
	}
	if g := c.recent[path]; g != nil && time.Since(c.readAt) < recentFor {
		defer c.mu.Unlock()
		delete(c.recent, path)
		g.inode = inode
		c.known[path] = g
		return g.clone(), false, nil
	}
	c.mu.Unlock()
	g, err = c.read(path, inode)
	return g, true, err
}

func (g *generations) clone() generations {
	return generations{inode: g.inode, id: g.id, seqs: maps.Clone(g.seqs)}
}

// aged notes that a node has a new generation.
func (c *genCache) aged(path string, node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.known[path]; g != nil {
		g.seqs[node]++
	}
}

// read asks the kernel.
func (c *genCache) read(path string, inode uint64) (generations, error) {
	for range lookupTries {
		all, err := c.readAll()
		if err != nil {
			return generations{}, &Failure{Reason: ReasonUnknownID, Err: err}
		}
		c.mu.Lock()
		c.recent, c.readAt = all, time.Now()
		maps.DeleteFunc(c.known, func(path string, _ *generations) bool { return all[path] == nil })
		g := all[path]
		if g != nil {
			delete(all, path)
			g.inode = inode
			c.known[path] = g
			defer c.mu.Unlock()
			return g.clone(), nil
		}
		c.mu.Unlock()
	}
	return generations{}, &Failure{Reason: ReasonGone, Err: fmt.Errorf("%s does not list %s", c.file, name.Escape(path))}
}

func (c *genCache) readAll() (map[string]*generations, error) {
	f, err := os.Open(c.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	groups, err := memcg.ParseLRUGen(f)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", c.file, err)
	}
	all := make(map[string]*generations, len(groups))
	for i := range groups {
		g := &generations{id: groups[i].ID, seqs: make(map[int]uint64, len(groups[i].Nodes))}
		for _, n := range groups[i].Nodes {
			if len(n.Gens) > 0 {
				g.seqs[n.Node] = n.Gens[len(n.Gens)-1].Seq
			}
		}
		all[groups[i].Path] = g
	}
	return all, nil
}
