package sampler

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/source"
)

// wantReady checks what Ready says, "" for nothing.
func wantReady(t *testing.T, s *Sampler, when, want string) {
	t.Helper()
	got := ""
	if err := s.Ready(); err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s: ready says %q, want %q", when, got, want)
	}
}

func TestReadyOnceTheMemcgsThereAreHaveBeenTried(t *testing.T) {
	m := newMachine()
	for i, path := range []string{"/busy", "/failing", "/empty", "/removed", "/another"} {
		m.add(i+1, path, 100, 10)
	}
	delete(m.procs, 3)
	s := newSampler(t, m, "memcgs: [{path: /*}]\n")
	wantReady(t, s, "before it starts", "the source is not attached yet")
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	wantReady(t, s, "before the first look", "the cgroups have not been listed yet")
	discover(t, s)
	wantReady(t, s, "before the first pass", "of the memcgs that match the config 5 have had no pass yet")
	pass(t, s, "/busy", 1)
	pass(t, s, "/empty", 1)
	m.ageErr = &source.Failure{Reason: source.ReasonRaced, Err: errors.New("raced")}
	if _, err := s.Pass(t.Context(), "/failing"); err == nil {
		t.Fatal("no error")
	}
	m.ageErr = nil
	wantReady(t, s, "after three passes", "of the memcgs that match the config 2 have had no pass yet")
	delete(m.cgroups, "/removed")
	m.add(9, "/new", 100, 10)
	discover(t, s)
	wantReady(t, s, "as two are gone", "of the memcgs that match the config 1 have had no pass yet")
	pass(t, s, "/another", 1)
	wantReady(t, s, "after the last one's pass", "")
	m.add(10, "/newer", 100, 10)
	discover(t, s)
	wantReady(t, s, "with a memcg that came later", "")
	if n := s.Snapshot().Self.MemcgsMatched; n != 6 {
		t.Errorf("%d memcgs match, want 6", n)
	}
}

func TestReadyWhereNothingMatches(t *testing.T) {
	m := newMachine()
	s := started(t, m, entries("/none", "/none/*"))
	wantReady(t, s, "where no memcg matches", "")
	if n := s.Snapshot().Self.MemcgsMatched; n != 0 {
		t.Errorf("%d memcgs match, want none", n)
	}
	m.add(1, "/none", 100, 10)
	discover(t, s)
	if n := s.Snapshot().Self.MemcgsMatched; n != 1 {
		t.Errorf("%d memcgs match, want 1", n)
	}
}

// TestNotReadyWhileCgroupsCannotBeListed: that nothing was found says nothing then.
func TestNotReadyWhileCgroupsCannotBeListed(t *testing.T) {
	m := newMachine()
	m.cgroups = map[string]uint64{}
	s := newSampler(t, m, entries("/a"))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	tree := &brokenTree{machine: m, err: errors.New("no")}
	s.deps.Cgroups = tree
	s.discover(time.Now())
	wantReady(t, s, "after an error", "the cgroups have not been listed yet")
	tree.err = nil
	s.discover(time.Now())
	wantReady(t, s, "after none", "")
}

// TestUnmatchedPathsAreLoggedOnce: not each time, but again when that changes.
func TestUnmatchedPathsAreLoggedOnce(t *testing.T) {
	m := newMachine()
	m.add(1, "/system.slice/db.service", 100, 10)
	m.add(2, "/user.slice/user-1.slice/system.slice/db.service", 100, 10)
	m.add(3, "/won", 100, 10)
	s := newSampler(t, m, entries("/db.service", "/none*", "/web-*.scope", "/won", "/w?n", "/kube"))
	var got []string
	s.deps.Log = slog.New(slog.NewTextHandler(onLine(func(line string) {
		_, line, _ = strings.Cut(line, "level=")
		got = append(got, strings.TrimSpace(line))
	}), nil))
	look := func(want ...string) {
		t.Helper()
		got = nil
		for range 3 {
			s.discover(time.Now())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	}
	const none, now = `WARN msg="The path in the config matches no memcg (yet)" memcg=`, `INFO msg="The path in the config matches a memcg now" memcg=`
	look(none+`/db.service did_you_mean=/system.slice/db.service`, none+`/kube`, none+`/none*`, none+`/web-*.scope`)
	m.add(4, "/none1", 100, 10)
	m.add(5, "/kube", 100, 10)
	look(now+`/kube`, now+`/none*`)
	m.add(6, "/machine.slice/web-1.scope", 100, 10)
	delete(m.cgroups, "/none1")
	delete(m.cgroups, "/kube")
	s.deps.Cgroups = &brokenTree{machine: m, err: errors.New("no")}
	look(`WARN msg="Listing cgroups" err=no`)
	s.deps.Cgroups = m
	look(none+`/kube`, none+`/none*`, `INFO msg="All cgroups can be listed again"`)
	reload(t, s, entries("/web-*.scope", "/new*.scope"))
	look(none + `/new*.scope`)
	reload(t, s, entries("/none*"))
	look(none + `/none*`)
}

// TestReadyIsNotTakenBack by a config that matches other memcgs.
func TestReadyIsNotTakenBack(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := started(t, m, entries("/a"))
	wantReady(t, s, "before a pass", "of the memcgs that match the config 1 have had no pass yet")
	reload(t, s, entries("/b"))
	discover(t, s)
	wantReady(t, s, "as the config names it no more", "")
	pass(t, s, "/b", 1)
	wantReady(t, s, "after another one's pass", "")
}

// A list is a Script of memcgs to pass, an empty one for a look at the cgroups.
type list []string

func (l *list) Next(context.Context) (string, time.Time, error) {
	if len(*l) == 0 {
		return "", time.Time{}, io.EOF
	}
	next := (*l)[0]
	*l = (*l)[1:]
	return next, time.Now(), nil
}

// TestReadyAtTheEndOfARecording: of a short one not each memcg has had a pass.
func TestReadyAtTheEndOfARecording(t *testing.T) {
	m := newMachine()
	m.add(1, "/a", 100, 10)
	m.add(2, "/b", 100, 10)
	s := newSampler(t, m, entries("/a", "/b"))
	s.deps.Script = &list{"", "/a"}
	ended := make(chan struct{})
	s.deps.Log = slog.New(slog.NewTextHandler(onLine(func(line string) {
		if strings.Contains(line, "played to its end") {
			wantReady(t, s, "before its end", "of the memcgs that match the config 1 have had no pass yet")
			close(ended)
		}
	}), nil))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-ended
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantReady(t, s, "at its end", "")
}
