package process

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/heat"
)

// TestWhatTheKernelCountsAndPagemapHidesIsUnscanned: resident is never less than the
// kernel says, whatever hides pages from us.
func TestWhatTheKernelCountsAndPagemapHidesIsUnscanned(t *testing.T) {
	lag := uint64(rssLag * runtime.NumCPU())
	for _, tc := range []struct {
		name       string
		anon, file uint64 // pages that the kernel counts; one anonymous page is found
		want       []heat.UnscannedPages
	}{
		{"all is found", 1, 0, nil},
		{"the counters lag", 1 + lag, lag, nil},
		{"pages are hidden", 2 + lag, 10 * lag, []heat.UnscannedPages{
			{Node: nodeUnknown, Type: heat.Anon, Pages: 1 + lag}, {Node: nodeUnknown, Type: heat.File, Pages: 10 * lag},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, "qemu-2nodes")
			f.process("490", mapsLine(base, base+1, "rw-p", "00:00", 0, ""))
			f.entries("490/pagemap", base, anonPage(5000))
			status := fmt.Sprintf("RssAnon:\t%8d kB\nRssFile:\t%8d kB\nRssShmem:\t%8d kB\n", tc.anon*4, tc.file*4, 0)
			if err := os.WriteFile(filepath.Join(f.proc, "490/status"), []byte(status), 0o600); err != nil {
				t.Fatal(err)
			}
			var res heat.Residency
			if err := f.reader().Read(t.Context(), 490, &res); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, res.Unscanned); diff != "" {
				t.Errorf("unscanned (-want +got):\n%s", diff)
			}
		})
	}
}
