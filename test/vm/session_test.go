package vm

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// say plays a boot: lines with a leading "#" are the console's.
func say(jobs int, lines ...string) (s *session, heard []string) {
	note := func(format string, args ...any) { heard = append(heard, fmt.Sprintf(format, args...)) }
	s = &session{log: io.Discard, jobs: jobs, onInit: func() {}, handlers: Handlers{
		Begin:  func(job string) { note("begin %s", job) },
		Output: func(job, line string) { note("%s: %s", job, line) },
		End:    func(job string, status int) { note("end %s %d", job, status) },
	}}
	for _, text := range lines {
		text, console := strings.CutPrefix(text, "#")
		s.line(line{console: console, text: text})
	}
	return s, heard
}

func TestSessionTellsJobsApart(t *testing.T) {
	s, heard := say(2, "\x01init", "\x01begin a", "one", "", "last, unended\x01end a 0", "\x01begin b", "\x01end b 3", "#reboot: Power down")
	if err := s.result(nil); err != nil {
		t.Error(err)
	}
	want := []string{"begin a", "a: one", "a: ", "a: last, unended", "end a 0", "begin b", "end b 3"}
	if strings.Join(heard, "\n") != strings.Join(want, "\n") {
		t.Errorf("want %q, got %q", want, heard)
	}
}

func TestSessionResult(t *testing.T) {
	splat := []string{"\x01init", "\x01begin a", "#BUG: bad page state", "#Call Trace:", "\x01end a 0"}
	for _, test := range []struct {
		name  string
		lines []string
		check func(err error) bool
	}{
		{"no init", []string{"#Linux version 6.1"}, func(err error) bool { return errors.Is(err, errNoInit) }},
		{"died in a job", []string{"\x01init", "\x01begin a", "#gone"}, func(err error) bool {
			return err != nil && strings.Contains(err.Error(), `died in "a"`) && strings.Contains(err.Error(), "gone")
		}},
		{"died before a job", []string{"\x01init"}, func(err error) bool { return err != nil && !errors.Is(err, errNoInit) }},
		{"complained though all went well", splat, func(err error) bool {
			var e *SplatError
			return errors.As(err, &e) && e.Job == "a" && len(e.Lines) == 2 && e.Lines[0] == "BUG: bad page state"
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, _ := say(1, test.lines...)
			if err := s.result(nil); !test.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}
