package source

import "testing"

func TestParseNodes(t *testing.T) {
	for _, tc := range []struct {
		list string
		want uint64
		ok   bool
	}{
		{"0", 1, true},
		{"0-1", 3, true},
		{"0-1,3", 11, true},
		{"63", 1 << 63, true},
		{"", 0, false},
		{"64", 0, false},
		{"1-0", 0, false},
		{"0-", 0, false},
		{"-1", 0, false},
		{"0,x", 0, false},
	} {
		got, err := parseNodes(tc.list)
		if (err == nil) != tc.ok || tc.ok && got != tc.want {
			t.Errorf("parseNodes(%q) = %#x, %v; want %#x, ok %v", tc.list, got, err, tc.want, tc.ok)
		}
	}
}
