package test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// A set is names of labels.
type set map[string]bool

func setOf(names ...string) set {
	s := set{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

func (s set) with(names ...string) set {
	out := maps.Clone(s)
	for _, n := range names {
		out[n] = true
	}
	return out
}

func (s set) without(names ...string) set {
	out := maps.Clone(s)
	for _, n := range names {
		delete(out, n)
	}
	return out
}

func (s set) String() string { return fmt.Sprint(slices.Sorted(maps.Keys(s))) }

// A vocabulary is the metrics that there are, and which labels each has.
type vocabulary map[string]set

// exporterVocabulary is what the exporter exports, with all labels that there may
// be: docs/METRICS.md is made of the collector's descriptors.
func exporterVocabulary(t *testing.T) vocabulary {
	t.Helper()
	v := vocabulary{}
	for name, section := range metricSections(t) {
		all := setOf("job", "instance")
		if m := labelsLine.FindStringSubmatch(section); m != nil {
			for l := range strings.SplitSeq(m[1], ", ") {
				all[strings.Trim(l, "`")] = true
			}
		}
		v[name] = all
		if strings.Contains(section, "\n- Type: histogram\n") {
			v[name+"_bucket"], v[name+"_sum"], v[name+"_count"] = all.with("le"), all, all
		}
	}
	return v
}

var (
	labelsLine = regexp.MustCompile("(?m)^- Labels: (.*)$")
	promqlCode = regexp.MustCompile("(?s)```promql\n(.*?)\n```")
)

// metricSections are the sections of docs/METRICS.md by metric.
func metricSections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## "))
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(text), "\n## ") {
		name, section, _ := strings.Cut(section, "\n")
		sections[name] = section
	}
	if len(sections) < 2 {
		t.Fatal("docs/METRICS.md has no section on any metric")
	}
	return sections
}

// docQueries are the examples in docs/METRICS.md.
func docQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	for name, section := range metricSections(t) {
		m := promqlCode.FindStringSubmatch(section)
		if m == nil {
			t.Errorf("docs/METRICS.md has no query of %s", name)
			continue
		}
		all = append(all, query{name: "METRICS.md/" + name, expr: m[1], instant: true})
	}
	return all
}

// parse parses an expression.
func parse(expr string) (parser.Expr, error) {
	return parser.NewParser(parser.Options{}).ParseExpr(expr)
}

// metrics returns the names of the metrics that an expression selects.
func metrics(expr parser.Expr) []string {
	var names []string
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names
}

// labelsOf returns which labels the result of an expression has. Its error names a
// metric that there is not, or a label that is asked for where there is none.
func (v vocabulary) labelsOf(expr parser.Expr) (set, error) {
	switch e := expr.(type) {
	case *parser.VectorSelector:
		has, ok := v[e.Name]
		if !ok {
			return nil, fmt.Errorf("there is no metric %q", e.Name)
		}
		for _, m := range e.LabelMatchers {
			if m.Name != model.MetricNameLabel && !has[m.Name] {
				return nil, fmt.Errorf("%s has no label %q, it has %v", e.Name, m.Name, has)
			}
		}
		return has, nil
	case *parser.MatrixSelector:
		return v.labelsOf(e.VectorSelector)
	case *parser.SubqueryExpr:
		return v.labelsOf(e.Expr)
	case *parser.ParenExpr:
		return v.labelsOf(e.Expr)
	case *parser.UnaryExpr:
		return v.labelsOf(e.Expr)
	case *parser.NumberLiteral, *parser.StringLiteral:
		return set{}, nil
	case *parser.AggregateExpr:
		return v.labelsOfAggregate(e)
	case *parser.Call:
		return v.labelsOfCall(e)
	case *parser.BinaryExpr:
		return v.labelsOfBinary(e)
	}
	return nil, fmt.Errorf("%s is a %T, which the test does not know", expr, expr)
}

func (v vocabulary) labelsOfAggregate(e *parser.AggregateExpr) (set, error) {
	has, err := v.labelsOf(e.Expr)
	if err != nil {
		return nil, err
	}
	for _, l := range e.Grouping {
		// What is already gone need not be taken away.
		if !has[l] {
			return nil, fmt.Errorf("%s by or without %q, there are only %v", e.Op, l, has)
		}
	}
	switch {
	case e.Op == parser.TOPK || e.Op == parser.BOTTOMK:
		return has, nil
	case e.Without:
		return has.without(e.Grouping...), nil
	}
	return setOf(e.Grouping...), nil
}

func (v vocabulary) labelsOfCall(e *parser.Call) (set, error) {
	out := set{}
	for _, arg := range e.Args {
		has, err := v.labelsOf(arg)
		if err != nil {
			return nil, err
		}
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			out = has
		}
	}
	switch e.Func.Name {
	case "histogram_quantile":
		return out.without("le"), nil
	case "label_replace":
		target, from := e.Args[1].(*parser.StringLiteral).Val, e.Args[3].(*parser.StringLiteral).Val
		if from != "" && !out[from] {
			return nil, fmt.Errorf("label_replace reads %q, there are only %v", from, out)
		}
		return out.with(target), nil
	case "scalar", "time", "vector":
		return set{}, nil
	}
	return out, nil
}

func (v vocabulary) labelsOfBinary(e *parser.BinaryExpr) (set, error) {
	left, err := v.labelsOf(e.LHS)
	if err != nil {
		return nil, err
	}
	right, err := v.labelsOf(e.RHS)
	if err != nil {
		return nil, err
	}
	m := e.VectorMatching
	if m == nil {
		// One side or both are scalars, which have no labels.
		return left.with(slices.Collect(maps.Keys(right))...), nil
	}
	for _, l := range m.MatchingLabels {
		if !left[l] && !right[l] || m.On && !(left[l] && right[l]) {
			return nil, fmt.Errorf("%s matches %q, there are %v and %v", e.Op, l, left, right)
		}
	}
	// Labels that only one side has match nothing, unless they are ignored.
	if !m.On && e.Op != parser.LOR {
		if l, r := left.without(m.MatchingLabels...), right.without(m.MatchingLabels...); l.String() != r.String() {
			return nil, fmt.Errorf("%s of %v and %v", e.Op, l, r)
		}
	}
	switch m.Card {
	case parser.CardManyToOne:
		for _, l := range m.Include {
			if !right[l] {
				return nil, fmt.Errorf("group_left takes %q, there are only %v", l, right)
			}
		}
		return left.with(m.Include...), nil
	case parser.CardOneToMany:
		return right.with(m.Include...), nil
	case parser.CardManyToMany: // and, or, unless
		if e.Op == parser.LOR {
			return left.with(slices.Collect(maps.Keys(right))...), nil
		}
		return left, nil
	}
	if m.On {
		return setOf(m.MatchingLabels...), nil
	}
	return left.without(m.MatchingLabels...), nil
}

// operands returns the parts of an expression that must have data for it to be able
// to return any: what is compared, and both sides of and, or and unless.
func operands(expr parser.Expr) []parser.Expr {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return operands(e.Expr)
	case *parser.BinaryExpr:
		if e.Op.IsComparisonOperator() || e.Op.IsSetOperator() {
			return append(operands(e.LHS), operands(e.RHS)...)
		}
	case *parser.NumberLiteral:
		return nil
	}
	return []parser.Expr{expr}
}
