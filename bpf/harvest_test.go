package bpf

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

// program is one whose missed calls can be read, or not.
type program struct {
	missed uint64
	err    error
}

func (p program) Stats() (*ebpf.ProgramStats, error) {
	if p.err != nil {
		return nil, p.err
	}
	return &ebpf.ProgramStats{RecursionMisses: p.missed}, nil
}

func TestMissedCalls(t *testing.T) {
	denied := errors.New("denied")
	seen := map[string]uint64{}
	for _, step := range []struct {
		name     string
		programs map[string]program
		want     uint64
		err      error
	}{
		{"those before the first pass count", map[string]program{"a": {missed: 3}, "b": {missed: 4}}, 7, nil},
		{"none", map[string]program{"a": {missed: 3}, "b": {missed: 4}}, 0, nil},
		{"one program hides no other", map[string]program{"a": {err: denied}, "b": {missed: 5}}, 1, denied},
		{"what could not be read counts once it can", map[string]program{"a": {missed: 10}, "b": {missed: 5}}, 7, nil},
		{"all hidden", map[string]program{"a": {err: denied}, "b": {err: denied}}, 0, denied},
		{"nothing comes twice", map[string]program{"a": {missed: 10}, "b": {missed: 5}}, 0, nil},
		{"a count that falls is none below 0", map[string]program{"a": {missed: 9}, "b": {missed: 5}}, 0, nil},
		{"and does not hide another's", map[string]program{"a": {missed: 1}, "b": {missed: 7}}, 2, nil},
		{"it counts from there", map[string]program{"a": {missed: 2}, "b": {missed: 7}}, 1, nil},
	} {
		got, err := newlyMissed(seen, step.programs)
		if got != step.want || !errors.Is(err, step.err) {
			t.Errorf("%s: %d missed calls, error %v; want %d, %v", step.name, got, err, step.want, step.err)
		}
	}
}
