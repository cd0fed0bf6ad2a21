package sampler

import (
	"container/heap"
	"time"
)

// A queue has the groups that no pass runs of, the one that is due first at its
// head. It is guarded by Sampler.mu, and so is where a group is in it.
type queue []*group

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return q[i].due.Before(q[j].due) || q[i].due.Equal(q[j].due) && q[i].path < q[j].path
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i+1, j+1
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	g := x.(*group)
	g.place = len(*q) + 1
	*q = append(*q, g)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	g.place = 0
	return g
}

// put puts a group where its due time says, whether or not it was in the queue.
func (q *queue) put(g *group) {
	if g.place > 0 {
		heap.Fix(q, g.place-1)
	} else {
		heap.Push(q, g)
	}
}

// remove takes a group out, if it is in the queue.
func (q *queue) remove(g *group) {
	if g.place > 0 {
		heap.Remove(q, g.place-1)
	}
}

// overtakers is how many groups behind the head are looked at, to find one that the
// budget affords now.
const overtakers = 63

// next returns a group whose pass may begin now, or how long to wait. Passes wait for
// the budget. The one that has waited longest goes first, except that a costly one
// lets others go before it while it saves up; see budget.
func (s *Sampler) next(now time.Time) (*group, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.budget.rest(now)
		return nil, time.Second
	}
	g := s.queue[0]
	if wait := g.due.Sub(now); wait > 0 {
		s.budget.rest(now)
		return nil, min(wait, discoverEvery)
	}
	if wait := s.budget.turn(now, g.cost); wait > 0 {
		if g = s.overtaking(now); g == nil {
			return nil, min(wait, discoverEvery, s.nextDue(now))
		}
	}
	s.queue.remove(g)
	s.running[g] = now
	return g, 0
}

// overtaking returns the group that is due, that has waited longest, and that the
// budget affords before the head; nil for none. It looks near the head of the queue
// only, where those that have waited longest are.
func (s *Sampler) overtaking(now time.Time) *group {
	var best *group
	for _, g := range s.queue[1:min(len(s.queue), overtakers+1)] {
		if !g.due.After(now) && (best == nil || g.due.Before(best.due)) && s.budget.affords(g.cost) {
			best = g
		}
	}
	return best
}

// nextDue is how long it takes until another group than the head is due.
func (s *Sampler) nextDue(now time.Time) time.Duration {
	wait := discoverEvery
	for _, g := range s.queue[1:min(len(s.queue), 3)] { // the head's two children
		if d := g.due.Sub(now); d > 0 {
			wait = min(wait, d)
		}
	}
	return wait
}
