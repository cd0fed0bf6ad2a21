package memcg

import (
	"strings"
	"testing"
)

func TestPatternMatch(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"/", []string{"/"}, []string{"/a", "", "a"}},
		{"/**", []string{"/", "/a", "/a/b", "/\xff/ "}, []string{"", "a"}},
		{"/a", []string{"/a"}, []string{"/", "/a/b", "/ab", "/b"}},
		{"/a/", []string{"/a"}, []string{"/"}},
		{"//./a//", []string{"/a"}, []string{"/"}},
		{"/*", []string{"/a", "/a b\xff"}, []string{"/", "/a/b"}},
		{"/a/**", []string{"/a", "/a/b", "/a/b/c"}, []string{"/", "/ab", "/b/a"}},
		{"/**/b", []string{"/b", "/a/b", "/a/b/b"}, []string{"/", "/a", "/b/a"}},
		{"/a/**/**/z", []string{"/a/z", "/a/b/c/z", "/a/z/z"}, []string{"/a", "/z", "/a/z/b"}},
		{"/**/a/**/b/**", []string{"/a/b", "/x/a/y/b/z", "/a/a/b/b"}, []string{"/a", "/b/a", "/x/a/y/z"}},
		{"/**/*.service", []string{"/x.service", "/a/x.service"}, []string{"/x.service/a", "/x"}},
		{"/a?c", []string{"/abc", "/aéc", "/a\xffc"}, []string{"/ac", "/abbc"}},
		{"/[a-c]x", []string{"/ax", "/cx"}, []string{"/dx", "/x", "/-x"}},
		{"/[!a-c]x", []string{"/dx"}, []string{"/ax", "/x"}},
		{"/[^a-c]x", []string{"/dx"}, []string{"/ax", "/x"}},
		{`/[\]\-!]x`, []string{"/]x", "/-x", "/!x"}, []string{"/ax"}},
		{`/\*`, []string{"/*"}, []string{"/a"}},
		{`/system-getty\\x2d.slice`, []string{`/system-getty\x2d.slice`}, []string{"/system-gettyx2d.slice"}},
		{`/a\[b`, []string{"/a[b"}, []string{`/a\[b`}},
		{"/a]-!^", []string{"/a]-!^"}, nil},
	}
	for _, test := range tests {
		p, err := CompilePattern(test.pattern)
		if err != nil {
			t.Errorf("CompilePattern(%q): %v", test.pattern, err)
			continue
		}
		for _, path := range test.yes {
			if !p.Match(path) {
				t.Errorf("%q does not match %q", test.pattern, path)
			}
		}
		for _, path := range test.no {
			if p.Match(path) {
				t.Errorf("%q matches %q", test.pattern, path)
			}
		}
		if again, err := CompilePattern(p.String()); err != nil || again.String() != p.String() || again.Compare(p) != 0 {
			t.Errorf("%q in its normal form %q: %q, %v", test.pattern, p, again, err)
		}
	}
	if (Pattern{}).Match("/") {
		t.Error("the zero pattern matches")
	}
}

func TestPatternErrors(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"", "empty"},
		{"a/b", "begins with /"},
		{"/a/../b", `".."`},
		{`/a/\.\.`, "no name of a cgroup"},
		{`/\.`, "no name of a cgroup"},
		{"/a**", "not alone"},
		{"/a/**b", "not alone"},
		{"/***", "not alone"},
		{`/a\`, "escapes nothing"},
		{`/a\/b`, "escapes nothing"},
		{"/[a", `no "]"`},
		{"/[", `no "]"`},
		{"/[!", `no "]"`},
		{"/[]", "empty"},
		{"/[^]", "empty"},
		{"/[]a]", "empty"},
		{"/[z-a]", "ends before it begins"},
		{"/[a-]", `"-"`},
		{"/[-a]", `"-"`},
		{`/[a\`, "escapes nothing"},
		{"/[\xff]", "UTF-8"},
		{"/a\nb", "newline"},
		{"/a\x00", "NUL"},
	}
	for _, test := range tests {
		if p, err := CompilePattern(test.pattern); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("CompilePattern(%q): %+v, %v, want an error with %q", test.pattern, p, err, test.want)
		}
	}
}

func TestPatternLess(t *testing.T) {
	// From the least specific to the most.
	order := [][]string{
		{"/**"},
		{"/**/a"},
		{"/*", "/?", "/[a-z]"},
		{"/*/b"},
		{"/f*/**"},
		{"/fo?"},
		{"/foo*"},
		{"/a/**", "/b/**"},
		{"/a/*"},
		{"/a/b*"},
		{"/a/b/**"},
		{"/"},
		{"/a", "/b"},
		{"/a/b"},
	}
	var all []Pattern
	var level []int
	for i, texts := range order {
		for _, text := range texts {
			p, err := CompilePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			all, level = append(all, p), append(level, i)
		}
	}
	for i, p := range all {
		for j, q := range all {
			if got, want := p.Less(q), level[i] < level[j]; got != want {
				t.Errorf("%q less than %q: %v", p, q, got)
			}
		}
		if want := !strings.ContainsAny(p.String(), "*?["); p.Literal() != want {
			t.Errorf("%q is literal: %v", p, p.Literal())
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	p, err := CompilePattern("/**/kubepods*/**/*.scope")
	if err != nil {
		b.Fatal(err)
	}
	const path = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1234.slice/cri-containerd-5678.scope"
	b.ReportAllocs()
	for b.Loop() {
		if !p.Match(path) {
			b.Fatal("no match")
		}
	}
}
