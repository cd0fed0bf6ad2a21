package main

import (
	"os"
	"path/filepath"
	"regexp"
)

// runbook is where docs/RUNBOOK.md is read from an alert. It is the one place to change;
// RUNBOOK_URL in the environment says otherwise.
const runbook = "https://git.example/mglru_exporter/blob/main/docs/RUNBOOK.md"

// linkRunbook has all alerts, and their tests, lead to the runbook at an address.
func linkRunbook(dir, address string) error {
	tests, err := filepath.Glob(filepath.Join(dir, "tests", "*.yaml"))
	if err != nil {
		return err
	}
	link := regexp.MustCompile(`(runbook_url: )\S*#`)
	for _, file := range append(tests, filepath.Join(dir, "alerts.yaml")) {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, link.ReplaceAll(text, []byte("${1}"+address+"#")), 0o644); err != nil {
			return err
		}
	}
	return nil
}
