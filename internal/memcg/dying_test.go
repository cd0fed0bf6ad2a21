package memcg

import (
	"errors"
	"testing"
)

func TestMayHaveDying(t *testing.T) {
	const new612 = "nr_descendants 1\nnr_subsys_cpuset 1\nnr_subsys_memory 1\nnr_dying_descendants 0\nnr_dying_subsys_cpuset 0\nnr_dying_subsys_memory "
	for name, tc := range map[string]struct {
		version int
		stat    string
		want    bool
	}{
		"a leaf":                              {2, "nr_descendants 0\nnr_dying_descendants 0\n", false},
		"one below was removed":               {2, "nr_descendants 0\nnr_dying_descendants 1\n", true},
		"one below may have been a memcg":     {2, "nr_descendants 1\nnr_dying_descendants 0\n", true},
		"6.12: none below was a memcg":        {2, new612 + "0\n", false},
		"6.12: one below was a memcg":         {2, new612 + "2\n", true},
		"v1, where the kernel does not count": {1, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, tc.version, "/")
			tr.memcg("a", "")
			if tc.stat != "" {
				tr.file("a/cgroup.stat", tc.stat)
			}
			if got, err := tr.open().MayHaveDying("/a"); err != nil || got != tc.want {
				t.Errorf("%v, %v; want %v", got, err, tc.want)
			}
		})
	}
	tr := newTree(t, 2, "/")
	tr.memcg("a", "")
	if _, err := tr.open().MayHaveDying("/a"); !errors.Is(err, ErrGone) {
		t.Errorf("without the file: %v, want ErrGone", err)
	}
	for _, bad := range []string{"nr_descendants\n", "nr_descendants -1\n", "nr_descendants 1 2\n", "\n"} {
		tr.file("a/cgroup.stat", bad)
		if got, err := tr.open().MayHaveDying("/a"); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}
