package test

import (
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A rule is a recording rule or an alert.
type rule struct {
	Record, Alert, Expr string
	For                 string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, name := range []string{"recording.yaml", "alerts.yaml"} { // alerts need the others
		var file struct {
			Groups []struct{ Rules []rule }
		}
		decode(t, "../rules/"+name, &file)
		for _, g := range file.Groups {
			all = append(all, g.Rules...)
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// cases counts the cases of an alert in promtool's tests.
type cases struct{ fires, silent int }

// TestAlertsAreExplainedAndTested: each alert says what it is, what to do is in the
// runbook, and there are a case in which it fires and one in which it does not.
func TestAlertsAreExplainedAndTested(t *testing.T) {
	runbook, err := os.ReadFile(root + "/docs/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllSubmatch(runbook, -1) {
		sections[string(m[1])] = true
	}
	tested, bases := alertCases(t), map[string]bool{}
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		t.Run(r.Alert, func(t *testing.T) {
			if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("severity %q", r.Labels["severity"])
			}
			if r.For == "" || r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "{{ $labels.instance }}") {
				t.Errorf("want for, a summary, and a description that says where: %+v", r)
			}
			base, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "#")
			if at, err := url.Parse(base); err != nil || !at.IsAbs() || at.Host == "" || !strings.HasSuffix(base, "/docs/RUNBOOK.md") || anchor != strings.ToLower(r.Alert) {
				t.Errorf("runbook_url %q, want an absolute one that ends in /docs/RUNBOOK.md#%s", r.Annotations["runbook_url"], strings.ToLower(r.Alert))
			}
			bases[base] = true
			if !slices.Contains([]string{"memory", "exporter"}, r.Labels["component"]) {
				t.Errorf("component %q", r.Labels["component"])
			}
			if !sections[r.Alert] {
				t.Errorf("docs/RUNBOOK.md has no section %q", "### "+r.Alert)
			}
			if c := tested[r.Alert]; c.fires == 0 || c.silent == 0 {
				t.Errorf("dashboards/rules/tests has %d tests in which it fires, %d in which it never does", c.fires, c.silent)
			}
		})
		delete(sections, r.Alert)
	}
	if len(bases) != 1 {
		t.Errorf("runbooks at %v, want one address for all", bases)
	}
	for name := range sections {
		t.Errorf("docs/RUNBOOK.md explains %s, which is no alert", name)
	}
}

// alertCases returns how many tests there are in which an alert fires at last, and
// in which it never does. Each has its alert's name first in its own.
func alertCases(t *testing.T) map[string]cases {
	t.Helper()
	files, err := filepath.Glob("../rules/tests/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]cases{}
	for _, file := range files {
		var tests struct {
			Tests []struct {
				Name          string
				InputSeries   []any `yaml:"input_series"`
				AlertRuleTest []struct {
					Alertname string
					ExpAlerts []any `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		decode(t, file, &tests)
		for _, one := range tests.Tests {
			alert, says, _ := strings.Cut(one.Name, " ")
			fires := false
			for _, c := range one.AlertRuleTest {
				if c.Alertname != alert {
					t.Errorf("%s: %q is about %s", file, one.Name, c.Alertname)
				}
				fires = fires || len(c.ExpAlerts) > 0
			}
			c := all[alert]
			switch {
			case len(one.InputSeries) == 0 || len(one.AlertRuleTest) == 0:
				t.Errorf("%s: %q tests nothing", file, one.Name)
			case fires && strings.HasPrefix(says, "fires"):
				c.fires++
			case !fires && strings.HasPrefix(says, "stays silent"):
				c.silent++
			default:
				t.Errorf("%s: %q fires: %v", file, one.Name, fires)
			}
			all[alert] = c
		}
	}
	return all
}

// TestPromtool has Debian's promtool check the rules and run their tests.
func TestPromtool(t *testing.T) {
	glob := func(pattern string) []string {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		return files
	}
	for _, args := range [][]string{
		append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, glob("../rules/*.yaml")...),
		append([]string{"test", "rules"}, glob("../rules/tests/*.yaml")...),
	} {
		t.Run(args[0], func(t *testing.T) {
			if out, err := exec.Command(tool(t, "promtool"), args...).CombinedOutput(); err != nil {
				t.Errorf("promtool: %v\n%s", err, out)
			}
		})
	}
}

var labelInTemplate = regexp.MustCompile(`\$labels\.(\w+)`)

// ruleQueries returns what rules ask, those first that others need. The labels that
// each leaves are added to the vocabulary.
func ruleQueries(t *testing.T, v vocabulary) []query {
	t.Helper()
	var all []query
	for _, r := range rules(t) {
		q := query{name: "rules/" + r.Record + r.Alert, expr: r.Expr, instant: true}
		needs := map[string]bool{}
		for _, text := range r.Annotations {
			for _, m := range labelInTemplate.FindAllStringSubmatch(text, -1) {
				needs[m[1]] = true
			}
		}
		q.needs = slices.Sorted(maps.Keys(needs))
		all = append(all, q)
		if r.Record == "" {
			continue
		}
		expr, err := parse(r.Expr)
		if err != nil {
			t.Fatalf("%s: %v", r.Record, err)
		}
		if v[r.Record], err = v.labelsOf(expr); err != nil {
			t.Fatalf("%s: %v", r.Record, err)
		}
		// The level that the name begins with is what it says of its labels.
		level, _, _ := strings.Cut(r.Record, ":")
		has := v[r.Record].without("job", "min_idle_seconds").String()
		if want := setOf(strings.Split(level, "_")...).without("job").String(); has != want {
			t.Errorf("%s has the labels %s, its name says %s", r.Record, has, want)
		}
		all = append(all, query{name: "rules/" + r.Record + "/recorded", expr: r.Record, rule: r.Expr, instant: true})
	}
	return all
}
