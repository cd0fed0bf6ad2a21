package web

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// Series are metrics that stay as they are until there are others: those of one
// snapshot. Two that are equal (==) say the same.
type Series interface {
	prometheus.Gatherer
	// WriteText writes them in Prometheus's text format, or in OpenMetrics without
	// its last line.
	WriteText(w io.Writer, openMetrics bool) error
}

// formats are those that can be asked for. The others that the library has are only for
// people to read, and so is text.
var formats = []expfmt.Format{
	expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtOpenMetrics_0_0_1, expfmt.NewFormat(expfmt.TypeTextPlain),
}

// A metricsHandler answers scrapes. What it has made of Series it keeps for the next
// scrape; metrics of the exporter itself are gathered each time.
type metricsHandler struct {
	Options
	bodies bodies
	slots  chan struct{} // nil for no bound
}

// metrics serves what can be gathered even if a collector has an error, which
// is logged.
func metrics(o Options) http.Handler {
	m := &metricsHandler{Options: o}
	if o.MaxRequests > 0 {
		m.slots = make(chan struct{}, o.MaxRequests)
	}
	if o.Instrument {
		return promhttp.InstrumentMetricHandler(o.Registry, m)
	}
	return m
}

// ServeHTTP answers a scrape.
func (m *metricsHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.slots != nil {
		select {
		case m.slots <- struct{}{}:
			defer func() { <-m.slots }()
		default:
			m.Rejected(rejectedScrapes)
			answer(w, http.StatusServiceUnavailable, fmt.Sprintf("%d scrapes are being answered already, try again later", m.MaxRequests))
			return
		}
	}
	format, zip := expfmt.NegotiateAccept(r.Header, formats...), acceptsGzip(r)
	names := r.URL.Query()["name[]"]

	var shared *body
	var own bytes.Buffer
	var families []*dto.MetricFamily
	if m.Series != nil {
		series := m.Series()
		if len(names) > 0 {
			families = m.gather(series)
		} else {
			shared = m.bodies.get(series, format, zip, m.gather)
		}
	}
	families = append(families, m.gather(m.Registry)...)
	if len(names) > 0 {
		families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !slices.Contains(names, f.GetName()) })
	}
	if len(families) == 0 && shared == nil && len(names) == 0 {
		answer(w, http.StatusInternalServerError, "no metric could be gathered, the log says why")
		return
	}
	if err := encode(&own, format, families, true); err != nil {
		m.Log.Error("Failed to encode the exporter's own metrics", "err", err)
	}

	h := w.Header()
	h.Set("Content-Type", string(format))
	h.Add("Vary", "Accept")
	h.Add("Vary", "Accept-Encoding")
	if zip {
		h.Set("Content-Encoding", "gzip")
	}
	start := time.Now()
	if err := shared.writeTo(w, own.Bytes(), zip); err != nil {
		m.Log.Warn("A scrape was cut off", "client", r.RemoteAddr, "after", time.Since(start), "err", err)
	}
}

// gather returns what can be gathered, and logs why the rest cannot.
func (m *metricsHandler) gather(g prometheus.Gatherer) []*dto.MetricFamily {
	families, err := g.Gather()
	if err != nil {
		m.Log.Error("Some metrics could not be gathered", "err", firstLine(err))
	}
	return families
}

// firstLine is an error that may have one for each of very many series, in short.
func firstLine(err error) string {
	const most = 500
	s := err.Error()
	if len(s) > most {
		s = s[:most] + "… (" + strconv.Itoa(len(s)) + " bytes)"
	}
	return s
}

// encode writes families in a format, and its end if there is one.
func encode(out io.Writer, format expfmt.Format, families []*dto.MetricFamily, end bool) error {
	enc := expfmt.NewEncoder(out, format, expfmt.WithCreatedLines())
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return fmt.Errorf("%s: %w", f.GetName(), err)
		}
	}
	if c, ok := enc.(expfmt.Closer); ok && end {
		return c.Close()
	}
	return nil
}
