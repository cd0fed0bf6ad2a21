package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"mglru_exporter/test/vm"
)

// findPrometheus returns Debian's Prometheus, which make deps unpacks.
func findPrometheus() (string, error) {
	path := filepath.Join(vm.CacheDir(), "tools/bin/prometheus")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no Prometheus, make deps puts it there: %w", err)
	}
	return path, nil
}

// prometheusConfig has it scrape the exporter, more often than a real one would,
// and evaluate the rules of this repository.
func prometheusConfig() string {
	return fmt.Sprintf(`global: {scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 4s}
rule_files: [%q]
scrape_configs:
  - job_name: mglru_exporter
    static_configs: [{targets: [%q]}]
`, filepath.Join(vm.Root(), "dashboards/rules/*.yaml"), exporterAddress)
}

// runPrometheus keeps its data in dir. It returns only once Prometheus has ended,
// and never nil.
func runPrometheus(ctx context.Context, path, dir string) error {
	config := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(config, []byte(prometheusConfig()), 0o600); err != nil {
		return err
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
	cmd.Stderr = &log
	// It dies with this process, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = errors.New("it has exited")
	}
	return fmt.Errorf("prometheus: %w: %s", err, bytes.TrimSpace(log.Bytes()))
}
