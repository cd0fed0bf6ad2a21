package memcg

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testdata reads a file of testdata.
func testdata(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseLRUGen(t *testing.T) {
	const getty = `/system.slice/system-getty\x2d1.slice/a b  c.service`
	for _, test := range []struct {
		kernel string
		want   map[string]uint64 // ids
	}{
		{"6.12", map[string]uint64{"/": 1, "/system.slice": 26, "/system.slice/gone.service": 33, getty: 41, "/user.slice": 77}},
		{"7.3", map[string]uint64{"/": 1, "/system.slice": 3215, "/system.slice/gone.service": 4402, getty: 8871, "/user.slice": 12345678901}},
	} {
		t.Run(test.kernel, func(t *testing.T) {
			text := testdata(t, "debian-"+test.kernel+"/lru_gen")
			groups, err := ParseLRUGen(iotest.OneByteReader(strings.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]uint64{}
			for _, g := range groups {
				got[g.Path] = g.ID
				if len(g.Nodes) != 2 || g.Nodes[0].Node != 0 || g.Nodes[1].Node != 1 {
					t.Errorf("nodes of %q are %+v", g.Path, g.Nodes)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
			want := LRUGenNode{Node: 1, Gens: []Generation{
				{Seq: 4, Age: 199999 * time.Millisecond, AnonPages: 4000},
				{Seq: 5, Age: 149999 * time.Millisecond, AnonPages: 4001},
			}}
			if diff := cmp.Diff(want, groups[len(groups)-1].Nodes[1]); diff != "" {
				t.Errorf("the last node (-want +got):\n%s", diff)
			}
		})
	}
}

// The guest had a cgroup /dead removed while pages were charged to it, and
// made again.
func TestParseLRUGenOfAGuest(t *testing.T) {
	got, err := ParseLRUGen(strings.NewReader(testdata(t, "qemu-6.1/lru_gen")))
	if err != nil {
		t.Fatal(err)
	}
	node := func(node int, age time.Duration, anon ...uint64) LRUGenNode {
		n := LRUGenNode{Node: node}
		for seq, pages := range anon {
			n.Gens = append(n.Gens, Generation{Seq: uint64(seq), Age: age * time.Millisecond, AnonPages: pages})
		}
		return n
	}
	want := []LRUGen{
		{ID: 1, Path: "/", Nodes: []LRUGenNode{node(0, 10044, 0, 0, 4172, 13), node(1, 10044, 0, 0, 1, 0)}},
		{ID: 2, Path: "/a b", Nodes: []LRUGenNode{node(0, 300, 0, 0, 0, 0), node(1, 300, 0, 0, 0, 0)}},
		{ID: 4, Path: "/dead", Nodes: []LRUGenNode{node(0, 24, 0, 0, 0, 0), node(1, 24, 0, 0, 0, 0)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("memcgs (-want +got):\n%s", diff)
	}
	full, err := ParseLRUGen(strings.NewReader(testdata(t, "qemu-6.1/lru_gen_full")))
	if err != nil || len(full) != 1 || len(full[0].Nodes) != 2 || len(full[0].Nodes[0].Gens) != 4 || full[0].Nodes[0].Gens[3].AnonPages != 16 {
		t.Errorf("lru_gen_full: %+v, %v", full, err)
	}
}

func TestParseLRUGenFull(t *testing.T) {
	got, err := ParseLRUGen(strings.NewReader(testdata(t, "debian-6.12/lru_gen_full")))
	if err != nil {
		t.Fatal(err)
	}
	want := []LRUGen{{ID: 1, Path: "/", Nodes: []LRUGenNode{{Gens: []Generation{
		{Seq: 0, Age: 182612 * time.Millisecond, FilePages: 1407},
		{Seq: 1, Age: 182612 * time.Millisecond, FilePages: 1407},
		{Seq: 2, Age: 90 * time.Second, FilePages: 12},
	}}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("memcgs (-want +got):\n%s", diff)
	}
}

func TestParseLRUGenCases(t *testing.T) {
	node := func(seq uint64) []LRUGenNode {
		return []LRUGenNode{{Gens: []Generation{{Seq: seq, Age: time.Second, AnonPages: 2, FilePages: 3}}}}
	}
	tests := []struct {
		name, text string
		want       []LRUGen
		wantErr    string
	}{
		{name: "nothing", text: ""},
		{name: "no memcgs in the kernel", text: "memcg     0 \n node     0\n 1 1000 2 3\n"},
		{name: "a memcg without nodes, and no newline at the end", text: "memcg     1 /", want: []LRUGen{{ID: 1, Path: "/"}}},
		{name: "a path with blanks and bytes that are not UTF-8", text: "memcg 5 / a  \xff \n node 0\n 7 1000 2 3\n",
			want: []LRUGen{{ID: 5, Path: "/ a  \xff ", Nodes: node(7)}}},
		{name: "of two with one path the last lives", text: "memcg 5 /a\n node 0\n 7 1000 2 3\nmemcg 9 /b\nmemcg 6 /a\n node 0\n 8 1000 2 3\n",
			want: []LRUGen{{ID: 9, Path: "/b"}, {ID: 6, Path: "/a", Nodes: node(8)}}},
		{name: "a removed memcg without an id", text: "memcg 0 /a\n node 0\n 7 1000 2 3\n junk\nmemcg 6 /a\n node 0\n 8 1000 2 3\n",
			want: []LRUGen{{ID: 6, Path: "/a", Nodes: node(8)}}},
		{name: "negative numbers are 0", text: "memcg 5 /a\n node 0\n 7 -1 -2 -3x\n",
			want: []LRUGen{{ID: 5, Path: "/a", Nodes: []LRUGenNode{{Gens: []Generation{{Seq: 7}}}}}}},
		{name: "an age of centuries", text: "memcg 5 /a\n node 0\n 7 9223372036854775807 0 0\n",
			want: []LRUGen{{ID: 5, Path: "/a", Nodes: []LRUGenNode{{Gens: []Generation{{Seq: 7, Age: 9223372036854 * time.Millisecond}}}}}}},
		{name: "no id", text: "memcg /a\n", wantErr: "line 1"},
		{name: "a negative id", text: "memcg -5 /a\n", wantErr: "line 1"},
		{name: "a node outside of a memcg", text: "\n node 0\n", wantErr: "line 2"},
		{name: "a node of no number", text: "memcg 1 /\n node x\n", wantErr: "line 2"},
		{name: "a node beyond all", text: "memcg 1 /\n node 99999\n", wantErr: "line 2"},
		{name: "a generation outside of a node", text: "memcg 1 /\n 1 1 1 1\n", wantErr: "line 2"},
		{name: "a generation cut short", text: "memcg 1 /\n node 0\n 1 1 1\n", wantErr: "line 3"},
		{name: "junk", text: "MGLRU is off\n", wantErr: "line 1"},
		{name: "too large a number", text: "memcg 1 /\n node 0\n 1 1 1 99999999999999999999\n", wantErr: "line 3"},
		{name: "a line without end", text: strings.Repeat("x", 1<<20), wantErr: "buffer full"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseLRUGen(strings.NewReader(test.text))
			if (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Fatalf("error %v, want %q", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("memcgs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseLRUGenOfAFileThatCannotBeRead(t *testing.T) {
	if _, err := ParseLRUGen(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestParseLRUGenOfManyKeepsThemApart(t *testing.T) {
	groups, err := ParseLRUGen(strings.NewReader(manyMemcgs(1000)))
	if err != nil || len(groups) != 1000 {
		t.Fatalf("%d memcgs, %v", len(groups), err)
	}
	for i, g := range groups {
		for n, node := range g.Nodes {
			for k, gen := range node.Gens {
				if len(g.Nodes) != 2 || len(node.Gens) != 4 || node.Node != n || gen.Seq != uint64(i+k) || gen.AnonPages != uint64(i) {
					t.Fatalf("memcg %d is %+v", i, g)
				}
			}
		}
	}
}

// manyMemcgs returns an lru_gen file of n memcgs on two nodes.
func manyMemcgs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "memcg %5d /kubepods.slice/kubepods-burstable.slice/pod%d.slice\n", i+1, i)
		for node := range 2 {
			fmt.Fprintf(&b, " node %5d\n", node)
			for k := range 4 {
				fmt.Fprintf(&b, " %10d %10d %10d  %10d \n", i+k, 1000*k, i, k)
			}
		}
	}
	return b.String()
}

func BenchmarkParseLRUGen(b *testing.B) {
	text := manyMemcgs(1000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseLRUGen(strings.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
