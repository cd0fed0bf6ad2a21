// Command dashboards writes Grafana's dashboards into the working directory, and the
// runbook's address into the alerts. Dashboards are made from code so that filters, colours and units are the same everywhere;
// a test runs every query against a Prometheus (dashboards/test).
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
)

//go:generate go run .

func main() {
	for name, d := range map[string]dashboard{"memory-heat.json": memoryHeat(), "exporter-health.json": exporterHealth()} {
		text, err := json.MarshalIndent(d, "", "  ")
		if err == nil {
			err = os.WriteFile(name, append(text, '\n'), 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := linkRunbook("rules", cmp.Or(os.Getenv("RUNBOOK_URL"), runbook)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
