package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A dashboard is what matters here of one of Grafana's.
type dashboard struct {
	file          string
	ID            *int
	UID           string
	Title         string
	Description   string
	SchemaVersion int
	Tags          []string
	Panels        []panel
	Templating    struct{ List []variable }
}

type panel struct {
	ID                 int
	Type               string
	Title, Description string
	Datasource         *datasource
	GridPos            struct{ X, Y, W, H int }
	FieldConfig        struct {
		Defaults struct{ Unit, NoValue string }
	}
	Targets         []target
	Transformations []struct {
		ID      string
		Options json.RawMessage
	}
}

type target struct {
	Datasource          *datasource
	Expr, Format        string
	Instant, Range      bool
	Interval            string
	LegendFormat, RefID string
}

type datasource struct{ Type, UID string }

type variable struct {
	Name, Label, Type string
	Datasource        *datasource
	Query             json.RawMessage
	Definition        string
	AllValue          string
	IncludeAll, Multi bool
	Current           struct{ Value any }
}

func dashboards(t *testing.T) []dashboard {
	t.Helper()
	files, err := filepath.Glob("../*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []dashboard
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := dashboard{file: filepath.Base(file)}
		if err := json.NewDecoder(bytes.NewReader(text)).Decode(&d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, d)
	}
	if len(all) != 2 {
		t.Fatalf("%d dashboards, want memory-heat.json and exporter-health.json", len(all))
	}
	return all
}

// reference finds where a variable is used; $1 in label_replace is none.
var reference = regexp.MustCompile(`\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)[^}]*\})`)

// TestDashboards holds dashboards to what Grafana and those who import them need.
func TestDashboards(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range dashboards(t) {
		t.Run(d.file, func(t *testing.T) {
			if d.ID != nil {
				t.Errorf("id is %d: it belongs to one Grafana", *d.ID)
			}
			if len(d.UID) < 8 || len(d.UID) > 40 || uids[d.UID] {
				t.Errorf("uid %q: it must be its own, of 8 to 40 characters", d.UID)
			}
			uids[d.UID] = true
			if d.SchemaVersion < 42 || d.Title == "" || d.Description == "" || !slices.Contains(d.Tags, "mglru") {
				t.Errorf("schemaVersion %d, title %q, description %q, tags %q", d.SchemaVersion, d.Title, d.Description, d.Tags)
			}
			checkVariables(t, d)
			checkLayout(t, d)
			for _, p := range d.Panels {
				if p.Type != "row" {
					t.Run(p.Title, func(t *testing.T) { checkPanel(t, p) })
				}
			}
		})
	}
}

func checkVariables(t *testing.T, d dashboard) {
	defined, used := map[string]bool{}, map[string]bool{}
	for _, v := range d.Templating.List {
		if defined[v.Name] || v.Label == "" {
			t.Errorf("variable %s: twice, or without a label", v.Name)
		}
		defined[v.Name] = true
		if v.Type == "query" && (v.Datasource == nil || v.Datasource.UID != "${datasource}" || !v.IncludeAll || !v.Multi || v.AllValue != ".*") {
			t.Errorf("variable %s: want the data source of the variable, many values, and all of them, by .*: %+v", v.Name, v)
		}
	}
	text, err := os.ReadFile("../" + d.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range reference.FindAllStringSubmatch(string(text), -1) {
		if name := m[1] + m[2]; !strings.HasPrefix(name, "__") {
			used[name] = true
		}
	}
	if !maps.Equal(defined, used) {
		t.Errorf("variables: defined %v, used %v", slices.Sorted(maps.Keys(defined)), slices.Sorted(maps.Keys(used)))
	}
}

func checkLayout(t *testing.T, d dashboard) {
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is beside the grid of 24 columns: %+v", p.Title, g)
			continue
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("panel %q is on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func checkPanel(t *testing.T, p panel) {
	if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.FieldConfig.Defaults.NoValue == "" {
		t.Errorf("want title, description, unit and noValue: %q, %q, %+v", p.Title, p.Description, p.FieldConfig.Defaults)
	}
	if len(p.Targets) == 0 {
		t.Error("it asks nothing")
	}
	want := datasource{"prometheus", "${datasource}"}
	if p.Datasource == nil || *p.Datasource != want {
		t.Errorf("data source %+v", p.Datasource)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if q.Datasource == nil || *q.Datasource != want || refs[q.RefID] || q.RefID == "" || q.Instant == q.Range {
			t.Errorf("target %+v: want the panel's data source, a refId of its own, and either instant or range", q)
		}
		refs[q.RefID] = true
		format := map[string]string{"heatmap": "heatmap", "table": "table"}[p.Type]
		if format == "" || p.Type == "heatmap" && strings.Contains(q.Expr, "mglru_address_") { // bands are no buckets
			format = "time_series"
		}
		if q.Format != format {
			t.Errorf("target %s of a %s: format %q, want %q", q.RefID, p.Type, q.Format, format)
		}
		if countsWindows.MatchString(q.Expr) != (q.Interval == "$window") {
			t.Errorf("target %s: least step %q; what grows by windows needs $window, nothing else does", q.RefID, q.Interval)
		}
	}
}

// countsWindows finds counters that grow once a window.
var countsWindows = regexp.MustCompile(`mglru_(region_accesses|reaccessed)\w*\{[^}]*\}\[`)

// columns returns the names of the fields that a table shows.
func (p panel) columns(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, tr := range p.Transformations {
		var o struct{ RenameByName map[string]string }
		if err := json.Unmarshal(tr.Options, &o); err != nil {
			t.Fatal(err)
		}
		names = append(names, slices.Sorted(maps.Keys(o.RenameByName))...)
	}
	return names
}

// A query is something that Prometheus is asked, with Grafana's variables in it.
type query struct {
	name, expr string
	instant    bool
	// rule is the expression whose result is recorded under the name expr.
	rule string
	// needs are labels of its result that something refers to.
	needs []string
}

var legendLabel = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// queries returns all queries of panels.
func (d dashboard) queries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, p := range d.Panels {
		columns := map[string]string{} // by target
		for _, c := range p.columns(t) {
			columns[c] = ""
		}
		for _, q := range p.Targets {
			one := query{name: fmt.Sprintf("%s/%s/%s", d.file, p.Title, q.RefID), expr: q.Expr, instant: q.Instant}
			for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
				one.needs = append(one.needs, m[1])
			}
			value := "Value #" + q.RefID
			if len(p.Targets) == 1 {
				value = "Value"
			}
			delete(columns, value)
			all = append(all, one)
		}
		// What is left must be a label that one of the targets has: the first.
		if len(p.Targets) > 0 {
			first := &all[len(all)-len(p.Targets)]
			first.needs = append(first.needs, slices.Sorted(maps.Keys(columns))...)
		}
	}
	return all
}

// defaults are the values of variables in a dashboard that was just imported, and of
// those that Grafana sets itself.
func (d dashboard) defaults(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{"__rate_interval": "1m"}
	for _, v := range d.Templating.List {
		switch {
		case v.Type == "datasource":
		case v.IncludeAll:
			values[v.Name] = v.AllValue
		default:
			text, ok := v.Current.Value.(string)
			if !ok || text == "" {
				t.Errorf("%s: variable %s has no value", d.file, v.Name)
			}
			values[v.Name] = text
		}
	}
	return values
}

// substitute puts values in the place of variables, as Grafana does.
func substitute(t *testing.T, expr string, values map[string]string) string {
	t.Helper()
	return reference.ReplaceAllStringFunc(expr, func(found string) string {
		m := reference.FindStringSubmatch(found)
		value, ok := values[m[1]+m[2]]
		if !ok {
			t.Errorf("%s: nothing is known of %s", expr, found)
		}
		return value
	})
}

// escaped is a value as Grafana writes it into a regular expression in PromQL.
func escaped(value string) string {
	return regexp.MustCompile(`[$^*{}\[\]+?.()|]`).ReplaceAllString(strings.ReplaceAll(value, `\`, `\\\\`), `\\$0`)
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
