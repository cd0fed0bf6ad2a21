package main

import (
	"maps"
	"strings"
)

// Colours of classes, told apart by the colour-blind too (Okabe and Ito's).
const (
	hotColor        = "#D55E00"
	warmColor       = "#F0E442"
	coldColor       = "#0072B2"
	unobservedColor = "#999999"
	limitColor      = "#CC79A7"
)

// pluginVersion is the Grafana whose options panels have.
const pluginVersion = "13.2.2"

func prometheus() *datasource { return &datasource{Type: "prometheus", UID: "${datasource}"} }

// newDashboard returns a dashboard of rows, with panels placed from left to
// right in the order given.
func newDashboard(uid, title, description string, variables []*variable, rows ...row) dashboard {
	d := dashboard{
		Annotations: annotations{List: []any{map[string]any{
			"builtIn": 1, "datasource": datasource{Type: "grafana", UID: "-- Grafana --"}, "enable": true, "hide": true,
			"iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
		}}},
		Description: description, Editable: true, GraphTooltip: 1,
		Links: []link{{
			Icon: "external link", IncludeVars: true, KeepTime: true, Tags: []string{"mglru"},
			Title: "MGLRU", Type: "dashboards",
		}},
		Refresh: "1m", SchemaVersion: schemaVersion, Tags: []string{"mglru", "memory"},
		Templating: templating{List: variables}, Time: timeRange{From: "now-6h", To: "now"}, Timezone: "browser",
		Title: title, UID: uid, Version: 1,
	}
	y := 0
	add := func(p *panel) {
		p.ID = len(d.Panels) + 1
		d.Panels = append(d.Panels, p)
	}
	for _, r := range rows {
		add(&panel{Type: "row", Title: r.title, Collapsed: new(false), Panels: &[]*panel{}, GridPos: gridPos{H: 1, W: 24, Y: y}})
		y++
		x, high := 0, 0
		for _, p := range r.panels {
			if x+p.GridPos.W > 24 {
				x, y, high = 0, y+high, 0
			}
			p.GridPos.X, p.GridPos.Y = x, y
			x += p.GridPos.W
			high = max(high, p.GridPos.H)
			add(p)
		}
		y += high
	}
	return d
}

type row struct {
	title  string
	panels []*panel
}

// newPanel returns a panel that is w of 24 columns wide. Empty is what it shows
// where there is no data.
func newPanel(kind, title, description, unit, empty string, w, h int, targets ...target) *panel {
	for i := range targets {
		targets[i].RefID = string(rune('A' + i))
	}
	return &panel{
		Type: kind, Title: title, Description: description, Datasource: prometheus(), GridPos: gridPos{W: w, H: h},
		FieldConfig:   &fieldConfig{Defaults: fieldDefaults{NoValue: empty, Unit: unit}, Overrides: []override{}},
		PluginVersion: pluginVersion, Targets: targets,
	}
}

// lines returns a panel of lines over time, none of which is below 0.
func lines(title, description, unit, empty string, w int, targets ...target) *panel {
	p := newPanel("timeseries", title, description, unit, empty, w, 8, targets...)
	p.FieldConfig.Defaults.Min = new(0.0)
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "palette-classic"}
	p.FieldConfig.Defaults.Custom = map[string]any{
		"drawStyle": "line", "fillOpacity": 0, "lineInterpolation": "linear", "lineWidth": 1, "showPoints": "never",
		"spanNulls": false, "stacking": map[string]any{"group": "A", "mode": "none"},
	}
	p.Options = map[string]any{
		"legend":  map[string]any{"calcs": []string{"lastNotNull", "max"}, "displayMode": "table", "placement": "bottom", "showLegend": true},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// stacked fills the areas between lines, which add up.
func (p *panel) stacked() *panel {
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 60
	p.FieldConfig.Defaults.Custom["stacking"] = map[string]any{"group": "A", "mode": "normal"}
	return p
}

// upTo sets where the axis ends.
func (p *panel) upTo(high float64) *panel {
	p.FieldConfig.Defaults.Max = &high
	return p
}

// colored gives the series of a legend a colour.
func (p *panel) colored(name, color string) *panel {
	return p.override(name, property{ID: "color", Value: map[string]any{"fixedColor": color, "mode": "fixed"}})
}

// limit draws the series of a legend as a dashed line that is not stacked.
func (p *panel) limit(name string) *panel {
	return p.colored(name, limitColor).override(name,
		property{ID: "custom.lineStyle", Value: map[string]any{"dash": []int{10, 10}, "fill": "dash"}},
		property{ID: "custom.lineWidth", Value: 2},
		property{ID: "custom.fillOpacity", Value: 0},
		property{ID: "custom.stacking", Value: map[string]any{"group": "limit", "mode": "none"}})
}

// override adds properties to the field of a name.
func (p *panel) override(name string, properties ...property) *panel {
	for i := range p.FieldConfig.Overrides {
		if o := &p.FieldConfig.Overrides[i]; o.Matcher.Options == name {
			o.Properties = append(o.Properties, properties...)
			return p
		}
	}
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides,
		override{Matcher: property{ID: "byName", Options: name}, Properties: properties})
	return p
}

// heatmap returns a panel of buckets over time. Rows is the unit of its rows,
// cells that of its cells.
func heatmap(title, description, rows, cells, empty string, w int, targets ...target) *panel {
	p := newPanel("heatmap", title, description, rows, empty, w, 9, targets...)
	p.FieldConfig.Defaults.Custom = map[string]any{
		"hideFrom": map[string]any{"legend": false, "tooltip": false, "viz": false}, "scaleDistribution": map[string]any{"type": "linear"},
	}
	p.Options = map[string]any{
		"calculate": false, "cellGap": 0, "cellValues": map[string]any{"unit": cells},
		"color": map[string]any{
			"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": false, "scale": "exponential", "scheme": "Viridis", "steps": 64,
		},
		"exemplars": map[string]any{"color": "rgba(255,0,255,0.7)"}, "filterValues": map[string]any{"le": 1e-9},
		"legend": map[string]any{"show": true}, "rowsFrame": map[string]any{"layout": "auto"}, "showValue": "never",
		"tooltip": map[string]any{"mode": "single", "showColorScale": true, "yHistogram": false},
		"yAxis":   map[string]any{"axisPlacement": "left", "reverse": false, "unit": rows},
	}
	return p
}

// stat returns a panel with one number.
func stat(title, description, unit, empty string, targets ...target) *panel {
	p := newPanel("stat", title, description, unit, empty, 4, 4, targets...)
	p.FieldConfig.Defaults.Color = map[string]any{"fixedColor": "text", "mode": "fixed"}
	p.Options = map[string]any{
		"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto",
		"percentChangeColorMode": "standard", "showPercentChange": false, "textMode": "auto", "wideLayout": true,
		"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// badFrom colours a number by whether it has reached a value.
func (p *panel) badFrom(value float64) *panel {
	p.FieldConfig.Defaults.Color = map[string]any{"mode": "thresholds"}
	p.FieldConfig.Defaults.Thresholds = &thresholds{Mode: "absolute", Steps: []step{{Color: "green"}, {Color: "red", Value: &value}}}
	return p
}

// A column is a label or, where it has a value, the result of a target.
type column struct {
	name, title, unit string
}

// table returns a panel with a row for each set of labels, in descending order of
// a column. Columns that are not listed are left out.
func table(title, description, empty, sortBy string, w int, columns []column, targets ...target) *panel {
	p := newPanel("table", title, description, "none", empty, w, 9, targets...)
	p.FieldConfig.Defaults.Custom = map[string]any{"align": "auto", "cellOptions": map[string]any{"type": "auto"}, "filterable": true, "inspect": false}
	p.Options = map[string]any{
		"cellHeight": "sm", "frameIndex": 0, "showHeader": true, "sortBy": []any{map[string]any{"desc": true, "displayName": sortBy}},
	}
	names, order, renamed := []string{}, map[string]any{}, map[string]any{}
	for i, c := range columns {
		names = append(names, c.name)
		order[c.name], renamed[c.name] = i, c.title
		if c.unit != "" {
			p.override(c.title, property{ID: "unit", Value: c.unit})
		}
	}
	p.Transformations = []transformation{
		{ID: "merge", Options: map[string]any{}},
		{ID: "filterFieldsByName", Options: map[string]any{"include": map[string]any{"names": names}}},
		{ID: "organize", Options: map[string]any{"excludeByName": map[string]any{}, "indexByName": order, "renameByName": maps.Clone(renamed)}},
	}
	return p
}

// What is written for the filters that all queries of a kind have.
const (
	instanceFilter = `instance=~"$instance"`
	memcgFilter    = instanceFilter + `, memcg=~"$memcg"`
	nodeFilter     = memcgFilter + `, node=~"$node"`
	processFilter  = memcgFilter + `, comm=~"$comm", pid=~"$pid"`
	seriesFilter   = processFilter + `, node=~"$node", type=~"$type"`
)

// filtered puts filters in the place of what stands for them, to which more may be
// added: {MEMCG} or {MEMCG, node="0"}.
func filtered(expr string) string {
	return strings.NewReplacer("{INSTANCE", "{"+instanceFilter, "{MEMCG", "{"+memcgFilter, "{NODE", "{"+nodeFilter,
		"{PROCESS", "{"+processFilter, "{SERIES", "{"+seriesFilter).Replace(expr)
}

// over returns a query of values over time.
func over(legend, expr string) target {
	return target{Datasource: prometheus(), EditorMode: "code", Expr: filtered(expr), Format: "time_series", LegendFormat: legend, Range: true}
}

// buckets returns a query of classic buckets over time.
func buckets(expr string) target {
	t := native(expr)
	t.LegendFormat = "{{le}}"
	return t
}

// native returns a query of native histograms over time.
func native(expr string) target {
	t := over("", expr)
	t.Format = "heatmap"
	return t
}

// perWindow makes the least step a window, so that each has what a window adds.
func (t target) perWindow() target {
	t.Interval = "$window"
	return t
}

// now returns a query of values at the end of the time range, as a table.
func now(expr string) target {
	t := over("__auto", expr)
	t.Format, t.Instant, t.Range = "table", true, false
	return t
}

// choice returns a variable of the values of a label.
func choice(name, label, metric, filter string) *variable {
	query := "label_values(" + metric + ", " + name + ")"
	if filter != "" {
		query = "label_values(" + metric + "{" + filter + "}, " + name + ")"
	}
	v := &variable{
		Name: name, Label: label, Type: "query", Datasource: prometheus(), Definition: query,
		Query:   map[string]any{"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
		Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".*",
		Current: map[string]any{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}}, Options: []option{},
	}
	if name == "pid" || name == "node" {
		v.Sort = 3 // by number
	}
	return v
}

// source returns the variable of the Prometheus to ask.
func source() *variable {
	return &variable{
		Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus", Refresh: 1,
		Current: map[string]any{}, Options: []option{},
	}
}

// oneOf returns a variable of a kind, custom or interval, with the values given.
func oneOf(kind, name, label, description, value string, values ...string) *variable {
	v := &variable{
		Name: name, Label: label, Description: description, Type: kind, Query: strings.Join(values, ","),
		Current: map[string]any{"selected": true, "text": value, "value": value}, Options: []option{},
	}
	for _, o := range values {
		v.Options = append(v.Options, option{Selected: o == value, Text: o, Value: o})
	}
	if kind == "interval" {
		v.Refresh, v.Auto, v.AutoCount, v.AutoMin = 2, new(false), 30, "10s"
	}
	return v
}
