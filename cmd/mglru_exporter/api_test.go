package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mglru_exporter/internal/api"
)

// replayGuest is the config of a replay of a guest's memory.
const replayGuest = "source: replay\nreplay: {file: ../../internal/recording/testdata/guest.mglru, speed: 0}\nmemcgs: [{path: /**, processes: {min_resident: 0}}]\n"

// classes are bytes by class.
type classes struct{ Hot, Warm, Cold, Unobserved float64 }

// metricsOf sums what /metrics says of each pid.
func metricsOf(t *testing.T, page string) map[int]classes {
	t.Helper()
	out := map[int]classes{}
	for _, m := range regexp.MustCompile(`(?m)^mglru_(hot|warm|cold|unobserved)_bytes\{.*pid="(\d+)".*\} (\S+)$`).FindAllStringSubmatch(page, -1) {
		pid, _ := strconv.Atoi(m[2]) // it is digits
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		c := out[pid]
		switch m[1] {
		case "hot":
			c.Hot += v
		case "warm":
			c.Warm += v
		case "cold":
			c.Cold += v
		default:
			c.Unobserved += v
		}
		out[pid] = c
	}
	return out
}

func ask[T any](t *testing.T, url string) (v T) {
	t.Helper()
	status, body := get(t, url)
	if status != 200 {
		t.Fatalf("%s: %d %s", url, status, body)
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v in %s", url, err, body)
	}
	return v
}

// lastColumn is what the last column of a heatmap says.
func lastColumn(m *api.Heatmap) (c classes) {
	column := &m.Columns[len(m.Columns)-1]
	for row, pages := range column.Pages {
		hot, warm, cold := column.Hot[row], column.Warm[row], column.Cold[row]
		c.Hot += float64(hot) * 4096
		c.Warm += float64(warm) * 4096
		c.Cold += float64(cold) * 4096
		c.Unobserved += float64(pages-hot-warm-cold) * 4096
	}
	return c
}

// TestHeatmapsAddUpToTheMetrics serves a recording, and compares the list of
// processes and each one's heatmap with /metrics.
func TestHeatmapsAddUpToTheMetrics(t *testing.T) {
	url, stop := startReplay(t, "--config.file="+write(t, "config.yaml", replayGuest))
	_, page := get(t, url+"/metrics")
	want, listed, drawn := metricsOf(t, page), map[int]classes{}, map[int]classes{}
	for _, p := range ask[api.Processes](t, url+"/api/v1/processes").Processes {
		listed[p.PID] = classes{float64(p.Hot), float64(p.Warm), float64(p.Cold), float64(p.Unobserved)}
		m := ask[api.Heatmap](t, fmt.Sprintf("%s/api/v1/processes/%d/heatmap?rows=7", url, p.PID))
		drawn[p.PID] = lastColumn(&m)
		if end := m.Columns[len(m.Columns)-1].End; !end.Equal(p.WindowEnd) {
			t.Errorf("pid %d: the last column is of %v, the process of %v", p.PID, end, p.WindowEnd)
		}
		if len(m.Rows) > 7 || len(m.Rows) < 2 || len(m.Columns) < 3 || m.To != m.Regions {
			t.Errorf("%d rows, %d columns, positions up to %d of %d", len(m.Rows), len(m.Columns), m.To, m.Regions)
		}
	}
	if len(want) < 2 {
		t.Errorf("the recording has series of %d processes, want some to compare", len(want))
	}
	if diff := cmp.Diff(want, listed); diff != "" {
		t.Errorf("processes (-/metrics +/api/v1/processes):\n%s", diff)
	}
	if diff := cmp.Diff(want, drawn); diff != "" {
		t.Errorf("last columns (-/metrics +heatmap):\n%s", diff)
	}
	if !regexp.MustCompile(`(?m)^mglru_heatmap_bytes [1-9]`).MatchString(page) {
		t.Error("mglru_heatmap_bytes says that nothing is kept")
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}

func TestAddressesAreToldOnlyWhenAskedFor(t *testing.T) {
	for _, expose := range []bool{false, true} {
		args := []string{"--config.file=" + write(t, "config.yaml", replayGuest)}
		if expose {
			args = append(args, "--web.expose-addresses")
		}
		url, stop := startReplay(t, args...)
		list := ask[api.Processes](t, url+"/api/v1/processes")
		_, body := get(t, fmt.Sprintf("%s/api/v1/processes/%d/heatmap", url, list.Processes[0].PID))
		if got := strings.Contains(body, `"address":"0x`); got != expose {
			t.Errorf("--web.expose-addresses %v: addresses in the heatmap: %v", expose, got)
		}
		if code, stderr := stop(); code != exitOK {
			t.Errorf("exit code %d, stderr:\n%s", code, stderr)
		}
	}
}

func TestReloadTurnsHeatmapsOff(t *testing.T) {
	file := write(t, "config.yaml", replayGuest)
	url, stop := startReplay(t, "--web.enable-lifecycle", "--config.file="+file)
	list := ask[api.Processes](t, url+"/api/v1/processes")
	heatmap := fmt.Sprintf("%s/api/v1/processes/%d/heatmap", url, list.Processes[0].PID)
	rewrite(t, file, replayGuest+"limits: {max_heatmap_bytes: 0}\n")
	if status, body := post(t, url+"/-/reload"); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
	if status, body := get(t, heatmap); status != http.StatusNotFound || !strings.Contains(body, "limits.max_heatmap_bytes: 0") {
		t.Errorf("%d %s, want 404 and why", status, body)
	}
	if code, stderr := stop(); code != exitOK {
		t.Errorf("exit code %d, stderr:\n%s", code, stderr)
	}
}
