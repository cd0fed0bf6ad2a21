package memcg

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzParseLRUGen(f *testing.F) {
	for _, name := range []string{"qemu-6.1/lru_gen", "qemu-6.1/lru_gen_full", "debian-7.3/lru_gen", "debian-6.12/lru_gen_full"} {
		f.Add([]byte(testdata(f, name)))
	}
	f.Add([]byte("memcg 0 /\n node 0\n 1 2 3x 4x\nmemcg 1 /\n node 0\n 1 2 3x -4 \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		groups, err := ParseLRUGen(bytes.NewReader(b))
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, g := range groups {
			if g.ID == 0 || seen[g.Path] {
				t.Errorf("memcg %+v", g)
			}
			seen[g.Path] = true
			for _, n := range g.Nodes {
				for _, gen := range n.Gens {
					if gen.Age < 0 {
						t.Errorf("generation %+v", gen)
					}
				}
			}
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, p := range []string{"/**", "/a/*/**/b?", `/[!a-c\]]\*`, "/"} {
		f.Add(p, "/a/b/c")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		p, err := CompilePattern(text)
		if err != nil {
			return
		}
		again, err := CompilePattern(p.String())
		if err != nil || again.String() != p.String() || again.Compare(p) != 0 {
			t.Fatalf("%q in its normal form %q: %q, %v", text, p, again, err)
		}
		if p.Match(path) != again.Match(path) {
			t.Errorf("%q and %q differ on %q", p, again, path)
		}
		// A pattern without wildcards matches its own text and nothing else.
		if p.Literal() && !strings.Contains(text, `\`) && !p.Match(p.String()) {
			t.Errorf("%q does not match itself", p)
		}
	})
}

func FuzzParseMount(f *testing.F) {
	for _, host := range []string{"vm-1node", "debian-13"} {
		for line := range strings.Lines(testdata(f, host+"/mountinfo")) {
			f.Add([]byte(line))
		}
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, ok := parseMount(b); ok {
			m.isCgroup()
		}
	})
}

func FuzzParseProcs(f *testing.F) {
	f.Add([]byte("1\n2\n0\n"))
	f.Add([]byte("-1\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, err := parseProcs(b, nil)
		if err != nil {
			return
		}
		for _, pid := range pids {
			if pid <= 0 {
				t.Errorf("pid %d", pid)
			}
		}
	})
}
