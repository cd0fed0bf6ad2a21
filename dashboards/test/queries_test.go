package test

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// TestQueries asks a real Prometheus everything that dashboards, rules, alerts and
// docs/METRICS.md ask. Each query parses, refers to nothing that the exporter does
// not have, and returns data; those that cannot are in gaps.
func TestQueries(t *testing.T) {
	l := newLab(t)
	v := exporterVocabulary(t)
	l.addOwn(t, v)
	missing := newMissing(t, v)

	t.Run("metrics", func(t *testing.T) {
		check := exec.Command(tool(t, "promtool"), "check", "metrics")
		check.Stdin = strings.NewReader(l.metrics)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
	for _, q := range append(ruleQueries(t, v), docQueries(t)...) {
		t.Run(q.name, func(t *testing.T) { l.check(t, v, missing, q) })
	}
	for _, d := range dashboards(t) {
		values := d.defaults(t)
		for _, q := range d.queries(t) {
			q.expr = substitute(t, q.expr, values)
			t.Run(q.name, func(t *testing.T) { l.check(t, v, missing, q) })
		}
		// And with one process of one memcg picked.
		l.pick(t, v, d, values)
		for _, q := range d.queries(t) {
			q.expr = substitute(t, q.expr, values)
			t.Run(q.name+"/picked", func(t *testing.T) { l.check(t, v, missing, q) })
		}
	}
	for metric, asked := range missing.asked {
		if !asked {
			t.Errorf("gaps lists %s, which nothing asks for", metric)
		}
	}
}

// addOwn adds what Prometheus has beside the exporter's families: what it says of
// the scrape, and of the exporter's process.
func (l lab) addOwn(t *testing.T, v vocabulary) {
	t.Helper()
	var all []map[string]string
	if err := l.server.get(t, "series", map[string][]string{"match[]": {`{__name__=~"up|scrape_.+|process_.+|go_.+"}`}}, &all); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		name := one["__name__"]
		delete(one, "__name__")
		v[name] = setOf(slices.Collect(maps.Keys(one))...)
	}
	if v["up"] == nil || v["process_resident_memory_bytes"] == nil {
		t.Fatalf("Prometheus has scraped nothing: %d other metrics", len(all))
	}
}

// missing are the gaps, by metric, and which of them were asked for.
type missing struct {
	why   map[string]string
	asked map[string]bool
}

// newMissing adds to the vocabulary what gaps expect to come.
func newMissing(t *testing.T, v vocabulary) missing {
	t.Helper()
	m := missing{map[string]string{}, map[string]bool{}}
	for _, g := range gaps() {
		name, _, _ := strings.Cut(g.metric, "{")
		switch {
		case g.labels != nil && v[name] != nil:
			t.Errorf("the exporter has %s now: take it out of gaps", g.metric)
		case g.labels == nil && v[name] == nil:
			t.Errorf("gaps: the exporter has no %s", g.metric)
		case g.labels != nil:
			v[g.metric] = setOf(g.labels...).with("job", "instance")
		}
		m.why[g.metric], m.asked[g.metric] = g.why, false
	}
	return m
}

// of returns why there is no data of metrics, "" if there is no reason.
func (m missing) of(names []string) string {
	for _, name := range names {
		if why := m.why[name]; why != "" {
			m.asked[name] = true
			return name + ": " + why
		}
	}
	return ""
}

// inherit gives what a rule records the reasons that the rule has.
func (m missing) inherit(t *testing.T, q query) {
	if q.rule == "" {
		return
	}
	rule, err := parse(q.rule)
	if err != nil {
		t.Fatal(err)
	}
	if why := m.of(metrics(rule)); why != "" {
		m.why[q.expr], m.asked[q.expr] = why, true
	}
}

// check holds one query to all of that.
func (l lab) check(t *testing.T, v vocabulary, m missing, q query) {
	expr, err := parse(q.expr)
	if err != nil {
		t.Fatalf("%s: %v", q.expr, err)
	}
	has, err := v.labelsOf(expr)
	if err != nil {
		t.Fatalf("%s: %v", q.expr, err)
	}
	for _, label := range q.needs {
		if !has[label] {
			t.Errorf("%s has no label %q for a legend, a column or an annotation, only %v", q.expr, label, has)
		}
	}
	l.checkData(t, v, m, q, expr)
}

// checkData asks a query, and each part of it without which there is no result.
func (l lab) checkData(t *testing.T, v vocabulary, m missing, q query, expr parser.Expr) {
	m.inherit(t, q)
	s := l.server
	// A histogram by its own name has no classic buckets.
	if slices.ContainsFunc(metrics(expr), func(name string) bool { return v[name+"_bucket"] != nil }) {
		s = l.nativeOn
	}
	// The whole first, for what only evaluation finds, such as series that match
	// twice.
	if _, err := s.ask(t, q.expr, q.instant); err != nil {
		t.Fatalf("%s: %v", q.expr, err)
	}
	for _, part := range operands(expr) {
		result, err := s.ask(t, part.String(), q.instant)
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		why := m.of(append(metrics(part), part.String()))
		switch {
		case len(result) == 0 && why == "":
			t.Errorf("%s returns nothing", part)
		case len(result) > 0 && why != "":
			t.Errorf("%s returns data, though gaps say %s: take that out", part, why)
		}
	}
}

// pick asks for the values of each variable in turn, as Grafana does, and picks the
// first memcg and the first process of it.
func (l lab) pick(t *testing.T, v vocabulary, d dashboard, values map[string]string) {
	t.Helper()
	for _, variable := range d.Templating.List {
		if variable.Type != "query" {
			continue
		}
		t.Run(d.file+"/$"+variable.Name, func(t *testing.T) {
			var asked struct{ Query string }
			if err := json.Unmarshal(variable.Query, &asked); err != nil {
				t.Fatal(err)
			}
			m := labelValues.FindStringSubmatch(substitute(t, asked.Query, values))
			if m == nil || asked.Query != variable.Definition {
				t.Fatalf("it asks %q, and is defined as %q", asked.Query, variable.Definition)
			}
			expr, err := parse(m[1])
			if err != nil {
				t.Fatal(err)
			}
			if has, err := v.labelsOf(expr); err != nil || !has[m[2]] {
				t.Fatalf("%s has the labels %v: %v", m[1], has, err)
			}
			found, err := l.server.values(t, m[1], m[2])
			if err != nil || len(found) == 0 {
				t.Fatalf("it has the values %q: %v", found, err)
			}
			// Not every process has memory of each type on each node.
			if variable.Name != "node" && variable.Name != "type" {
				values[variable.Name] = escaped(found[0])
			}
		})
	}
}
