package source

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestRemovedMemcgsAreForgotten has one memcg after another come and go, of which
// both caches are to remember only the one that there is.
func TestRemovedMemcgsAreForgotten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lru_gen")
	ids, gens := idCache{file: file, ids: map[string]cachedID{}}, newGenCache(file)
	for i := range 50 {
		path := fmt.Sprint("/pod", i)
		text := fmt.Sprintf("memcg %d %s\n node     0\n          7       1000          1          2\n", i+2, path)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := ids.lookup(path, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		g, _, err := gens.lookup(path, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if id != i+2 || g.id != uint64(i+2) {
			t.Errorf("%s has the ids %d and %d, want %d", path, id, g.id, i+2)
		}
		if len(ids.ids) != 1 || len(gens.known) != 1 {
			t.Fatalf("after %d memcgs %d and %d are remembered", i+1, len(ids.ids), len(gens.known))
		}
	}
}
