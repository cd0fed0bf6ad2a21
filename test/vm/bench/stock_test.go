//go:build guest

package bench

import (
	"context"
	"runtime"
	"testing"

	"mglru_exporter/bpf"
)

// stock is the product on a kernel without our patches, which it ages through
// debugfs.
func (b *bench) stock(t *testing.T, variant string) {
	found := newCounter(b)
	s, err := bpf.OpenStock(bpf.StockOptions{}, found.add)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if refused, err := s.Watch([]int{b.w.PID}, nil); err != nil || len(refused) > 0 {
		t.Fatalf("watch: %v, %v refused", err, refused)
	}

	// As in hooks: what Age does by turns, for the time of the aging alone.
	begin, finish := program(t, "begin"), program(t, "finish")
	b.passes(t, variant, false, func(t *testing.T, id int, seq uint64) {
		runtime.LockOSThread() // a pass is what the thread ages that began it
		defer runtime.UnlockOSThread()
		run(t, begin, uint64(0))
		byDebugfs(t, id, seq)
	}, func(t *testing.T) {
		run(t, finish, uint64(1)<<63) // a cookie that Age never uses
		found.wait(t)
	})
	b.passes(t, variant, true, func(t *testing.T, id int, seq uint64) {
		pass, err := s.Age(context.Background(), func(func() uint64) error {
			byDebugfs(t, id, seq)
			return nil
		}, []int{b.w.PID})
		if err != nil || pass.Lost != 0 || len(pass.LostBy) > 0 {
			t.Fatalf("age: %v, %d records lost, blind to %v", err, pass.Lost, pass.LostBy)
		}
	}, found.wait)
}
