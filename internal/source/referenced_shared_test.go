package source

import (
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"

	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/process"
)

// TestForksAreComparedWithFew has many processes of one program, each with memory of
// its own, as a server that forks has: to find out takes some comparisons for each, not
// one with each other.
func TestForksAreComparedWithFew(t *testing.T) {
	const forks = 2000
	r := NewReferenced(t.TempDir(), t.TempDir())
	places := rand.New(rand.NewPCG(1, 2)).Perm(forks + 2)
	asked := 0
	r.compareMemory = func(a, b int) (int, error) {
		asked++
		return places[a] - places[b], nil
	}
	for tgid := range forks {
		if r.shares(r.lookup(heat.ProcessID{TGID: tgid + 1, Image: 7})) {
			t.Fatalf("process %d is said to share another's memory", tgid+1)
		}
	}
	if most := forks * 12; asked > most {
		t.Errorf("%d comparisons for %d processes, want %d at most", asked, forks, most)
	}
	// One that shares the memory of any is found.
	places[0] = places[777]
	if !r.shares(r.lookup(heat.ProcessID{TGID: 0, Image: 7})) {
		t.Error("a process that shares the memory of process 777 is not found")
	}
	if list := r.owners[7]; len(list) != forks || !slices.IsSortedFunc(list, func(a, b int) int { return places[a] - places[b] }) {
		t.Errorf("%d owners, want %d in the kernel's order", len(list), forks)
	}
}

// TestAnOwnerThatRunsAnotherProgramMisleadsNobody: its place in the order is another
// one by now, so it is taken out of the list before the search goes on.
func TestAnOwnerThatRunsAnotherProgramMisleadsNobody(t *testing.T) {
	r := NewReferenced(t.TempDir(), t.TempDir())
	moved := false
	r.compareMemory = func(a, b int) (int, error) {
		if moved && b == 2 {
			return 0, process.ErrGone
		}
		return a - b, nil
	}
	for tgid := 1; tgid <= 3; tgid++ {
		r.shares(r.lookup(heat.ProcessID{TGID: tgid, Image: 7}))
	}
	moved = true
	if r.shares(r.lookup(heat.ProcessID{TGID: 5, Image: 7})) {
		t.Error("a process with memory of its own is said to share it")
	}
	if want := []int{1, 3, 5}; !slices.Equal(r.owners[7], want) {
		t.Errorf("owners %v, want %v", r.owners[7], want)
	}
}

// TestTheKernelsOrderIsOne: of three processes, as compare needs it.
func TestTheKernelsOrderIsOne(t *testing.T) {
	var tids []int
	for range 3 {
		cmd := exec.Command("sleep", "100")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()         //nolint:errcheck // it is killed
		defer cmd.Process.Kill() //nolint:errcheck // it may have ended
		tids = append(tids, cmd.Process.Pid)
	}
	order := func(a, b int) int {
		n, err := kcmpVM(a, b)
		if err != nil {
			t.Skip("NOT TESTED: no kcmp here: ", err)
		}
		return n
	}
	slices.SortFunc(tids, order)
	for i := range tids {
		for j := range tids {
			if got := order(tids[i], tids[j]); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("processes %d and %d in order compare as %d", i, j, got)
			}
		}
	}
}
