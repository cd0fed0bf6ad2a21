package top

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mglru_exporter/internal/api"
)

const (
	// maxAnswer bounds what is read of an answer, in bytes; the API's own bounds
	// keep a whole heatmap well below.
	maxAnswer = 256 << 20
	// timeout is how long an answer may take.
	timeout = 10 * time.Second
)

// A Client asks an exporter's API.
type Client struct {
	base *url.URL
	http *http.Client
	now  func() time.Time
}

// NewClient returns a Client of the exporter at a URL such as
// http://127.0.0.1:9934; a path in front of the API's is kept.
func NewClient(base string, c *http.Client) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("--url: %s is not an address such as http://127.0.0.1:9934", Clean(strconv.Quote(base)))
	}
	u.RawQuery, u.Fragment = "", ""
	return &Client{base: u, http: c, now: time.Now}, nil
}

// URL is where the exporter is, without a password.
func (c *Client) URL() string { return strings.TrimSuffix(c.base.Redacted(), "/") }

// A query is what the screen shows, or would: the processes, or if pid is not 0
// the heatmap of one.
type query struct {
	search, sort string
	limit        int

	pid, rows, windows int
	from, to           int // positions; to 0 is for all
}

// An answer has either processes or a heatmap.
type answer struct {
	query     query
	processes *api.Processes
	heatmap   *api.Heatmap
	// at is when it was made, by the exporter's clock if it tells.
	at  time.Time
	err error
}

// ask returns the answer to a query. Before is an answer to the same query: a
// heatmap whose process has had no window since is not asked for again.
func (c *Client) ask(ctx context.Context, q query, before *api.Heatmap) answer {
	a := answer{query: q, at: c.now()}
	if q.pid == 0 {
		a.processes = new(api.Processes)
		a.at, a.err = c.get(ctx, api.ProcessesPath, url.Values{
			"sort": {q.sort}, "search": {q.search}, "limit": {strconv.Itoa(q.limit)},
		}, a.processes)
		return a
	}
	if before != nil {
		var now api.Heatmap
		if a.at, a.err = c.heatmap(ctx, query{pid: q.pid, rows: 1, windows: 1}, &now); a.err != nil {
			return a
		}
		if sameWindow(&now.Process, &before.Process) {
			a.heatmap = before
			return a
		}
	}
	a.heatmap = new(api.Heatmap)
	if a.at, a.err = c.heatmap(ctx, q, a.heatmap); a.err == nil {
		if err := checkHeatmap(a.heatmap); err != nil {
			a.err = fmt.Errorf("%s: %w", c.URL(), err)
		}
	}
	return a
}

func sameWindow(a, b *api.Process) bool {
	return a.WindowEnd.Equal(b.WindowEnd) && a.Memcg == b.Memcg && a.Comm == b.Comm && a.Windows == b.Windows
}

func (c *Client) heatmap(ctx context.Context, q query, h *api.Heatmap) (time.Time, error) {
	v := url.Values{"rows": {strconv.Itoa(q.rows)}, "windows": {strconv.Itoa(q.windows)}}
	if q.to > 0 {
		v.Set("from", strconv.Itoa(q.from))
		v.Set("to", strconv.Itoa(q.to))
	}
	return c.get(ctx, strings.Replace(api.HeatmapPath, "{pid}", strconv.Itoa(q.pid), 1), v, h)
}

// checkHeatmap holds an answer to what the drawing relies on.
func checkHeatmap(h *api.Heatmap) error {
	n := len(h.Rows)
	for i := range h.Columns {
		c := &h.Columns[i]
		for _, l := range [...]int{
			len(c.Accesses), len(c.Pages), len(c.Anon), len(c.Shmem), len(c.Hot), len(c.Warm), len(c.Cold), len(c.Node), len(c.Idle),
		} {
			if l != n {
				return fmt.Errorf("the heatmap of process %d has %d rows, and a window with %d values: is it an exporter of another version?", h.Process.PID, n, l)
			}
		}
	}
	return nil
}

// get returns when the answer was made.
func (c *Client) get(ctx context.Context, path string, v url.Values, into any) (time.Time, error) {
	now := c.now()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u := c.base.JoinPath(path)
	u.RawQuery = v.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return now, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return now, c.explain(err)
	}
	defer resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		now = date
	}
	if resp.StatusCode != http.StatusOK {
		return now, c.refused(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		if ctx.Err() != nil {
			return now, c.explain(ctx.Err())
		}
		return now, fmt.Errorf("%s: no JSON of the API: %s; does --url name an mglru_exporter, of this version?", c.URL(), Clean(err.Error()))
	}
	return now, nil
}

// explain says what went wrong on the way, and what to do.
func (c *Client) explain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // without the address that is asked for: the next line has it
	}
	text := Clean(err.Error())
	hint := "is an mglru_exporter running there? If it is elsewhere, name it with --url"
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("no answer within %s", timeout)
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		hint = "it has no TLS: begin --url with http://"
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		hint = "say whom to trust and who you are in tls_config of --http.config.file"
	}
	return fmt.Errorf("%s: %s; %s", c.URL(), text, hint)
}

// refused says what an answer that is not 200 means.
func (c *Client) refused(resp *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what cannot be read is not shown
	var e api.Error
	told := ""
	if json.Unmarshal(b, &e) == nil && e.Error != "" {
		told = ": " + Clean(e.Error)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: %s%s; say who you are in --http.config.file, such as basic_auth: {username: NAME, password_file: FILE}", c.URL(), Clean(resp.Status), told)
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(b), "HTTP request to an HTTPS server"):
		return fmt.Errorf("%s: it speaks TLS: begin --url with https://", c.URL())
	case told != "":
		return fmt.Errorf("%s%s", c.URL(), told)
	default:
		return fmt.Errorf("%s: %s; does --url name an mglru_exporter, of this version?", c.URL(), Clean(resp.Status))
	}
}
