//go:build guest

package distro

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A state is what lru_gen/enabled is, and what comes of it.
type state struct {
	enabled string
	source  string // that auto takes
	repair  string // what check says to write for stock, where it does not work
}

// systems are the states of each system's kernel, beginning with the one in which it
// boots. docs/KERNELS.md says the same.
var systems = map[string][]state{
	"debian-12": {{"0x0000", "referenced", "echo 0x3"}, {"0x0007", "referenced", "echo 0x3"}, {"0x0003", "stock", ""}},
	"debian-13": {{"0x0007", "stock", ""}, {"0x0000", "referenced", "echo 0x7"}},
}

// configure writes a config whose windows are short.
func configure(t *testing.T, source string) {
	t.Helper()
	write(t, configPath, fmt.Sprintf(`source: %s
aging: {interval: 2s, passes_per_window: 2, cpu_budget: 1}
heat: {idle_ages: []}
memcgs: [{path: /system.slice/**, processes: {min_resident: 1MiB}}]
`, source))
}

// TestUnit installs the exporter as docs/DEPLOYMENT.md says, and looks at the unit
// while its kernel is in each state.
func TestUnit(t *testing.T) {
	states := systems[os.Getenv("MGLRU_KERNEL")]
	if len(states) == 0 {
		t.Fatalf("nothing is known of $MGLRU_KERNEL, which is %q", os.Getenv("MGLRU_KERNEL"))
	}
	if got := read(t, enabledPath); got != states[0].enabled {
		t.Fatalf("it boots with %s in %s, want %s", got, enabledPath, states[0].enabled)
	}
	documented(t, strings.Replace(os.Getenv("MGLRU_KERNEL"), "debian-", "Debian ", 1), states[0])
	follow(t, "DEPLOYMENT.md", "Binary", "install")
	follow(t, "DEPLOYMENT.md", "systemd", "(?:install|systemctl)")
	for i, s := range states {
		t.Run(s.enabled, func(t *testing.T) {
			if i > 0 {
				write(t, enabledPath, s.enabled)
			}
			if s.enabled == "0x0003" {
				permanent(t)
			}
			configure(t, "auto")
			restart(t)
			pid := s.works(t)
			s.verdict(t)
			unbroken(t, pid)
			if s.repair != "" {
				s.repaired(t)
			}
		})
	}
	t.Run("reload", reloads)
	t.Run("mistake", mistake)
	t.Run("no debugfs", withoutDebugfs)
	t.Run("stop", func(t *testing.T) {
		sh(t, "systemctl stop "+service)
		if got := unit(t, "ActiveState", "Result"); got != "inactive success" {
			t.Errorf("after stop the unit is %s", got)
		}
	})
}

// restart starts the unit anew. Restarts are not to use up its StartLimitBurst=.
func restart(t *testing.T) {
	t.Helper()
	sh(t, "systemctl reset-failed "+service+" && systemctl restart "+service)
}

// documented checks that the row of docs/KERNELS.md on a system says this of it.
func documented(t *testing.T, system string, s state) {
	t.Helper()
	for line := range strings.Lines(read(t, checkout+"/docs/KERNELS.md")) {
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 9 || cells[1] != system {
			continue
		}
		repair := ""
		if s.repair != "" {
			repair = "`" + s.repair + "`"
		}
		if !strings.Contains(cells[4], "`"+s.enabled+"`") || cells[5] != "`"+s.source+"`" || cells[6] != repair {
			t.Errorf("docs/KERNELS.md says %q, want %+v", line, s)
		}
		return
	}
	t.Errorf("docs/KERNELS.md has no row for %s", system)
}

// works waits until the source is ready and has seen a service of the system, and
// returns the exporter's process.
func (s state) works(t *testing.T) (pid string) {
	t.Helper()
	wait(t, "using "+s.source, func() bool {
		return metrics(t, `mglru_source_info{granularity=`, `source="`+s.source+`"`)
	})
	wait(t, "ready", func() bool { status, _ := get(t, "/-/ready"); return status == 200 })
	wait(t, "telling what journald has hot", func() bool {
		return metrics(t, `mglru_hot_bytes{comm="systemd-journal",memcg="/system.slice/systemd-journald.service"`)
	})
	return unit(t, "MainPID")
}

// unbroken checks that the unit runs as the same process as before.
func unbroken(t *testing.T, pid string) {
	t.Helper()
	if got, want := unit(t, "ActiveState", "SubState", "NRestarts", "MainPID"), "active running 0 "+pid; got != want {
		t.Errorf("the unit is %q, want %q", got, want)
	}
}

// verdict checks the first line of check.
func (s state) verdict(t *testing.T) {
	t.Helper()
	out, _ := shell(t, "mglru_exporter check") // the exit status is coarse
	first, _, _ := strings.Cut(out, "\n")
	t.Logf("check: %s", first)
	want := "would use stock (page-exact)"
	if s.source == "referenced" {
		want = "would use referenced (per mapping); stock needs one thing: " + s.repair + " > " + enabledPath
	}
	if !strings.HasPrefix(strings.ReplaceAll(first, " >/", " > /"), want) {
		t.Errorf("check begins with %q, want %q", first, want)
	}
}

// repaired has the unit wait for stock, does what check says, and waits until the
// same process is ready.
func (s state) repaired(t *testing.T) {
	t.Helper()
	configure(t, "stock")
	restart(t)
	wait(t, "waiting for a source", func() bool {
		status, body := get(t, "/-/ready")
		return status == 503 && strings.Contains(body, s.repair) && metrics(t, `mglru_source_info{granularity="none",source="none"} 1`)
	})
	pid := unit(t, "MainPID")
	unbroken(t, pid)
	sh(t, s.repair+" >"+enabledPath)
	if got := (state{source: "stock"}).works(t); got != pid {
		t.Errorf("process %s became %s", pid, got)
	}
	unbroken(t, pid)
}

// permanent switches MGLRU as docs/KERNELS.md says for each boot.
func permanent(t *testing.T) {
	t.Helper()
	write(t, enabledPath, "0")
	follow(t, "KERNELS.md", "Make it permanent", "(?:install|systemd-tmpfiles)")
	if got := read(t, enabledPath); got != "0x0003" {
		t.Errorf("%s is %s, want 0x0003", enabledPath, got)
	}
}

// reloads has a valid and an invalid config read again by systemctl reload.
func reloads(t *testing.T) {
	wait(t, "up", func() bool { status, _ := get(t, "/-/healthy"); return status == 200 })
	pid := unit(t, "MainPID")
	good := read(t, configPath)
	for _, tc := range []struct{ config, want string }{{"memcgs: 1\n", "0"}, {good + "\n", "1"}} {
		write(t, configPath, tc.config)
		sh(t, "systemctl reload "+service)
		wait(t, "reloaded", func() bool { return metrics(t, "\nmglru_config_last_reload_successful "+tc.want+"\n") })
	}
	unbroken(t, pid)
}

// mistake starts the unit with a config that is wrong: it ends in state failed, with
// each error in the journal.
func mistake(t *testing.T) {
	write(t, configPath, "source: best\nmemcgs: [{path: /a, aging: {interval: 1}}]\n")
	restart(t)
	wait(t, "failed", func() bool { return unit(t, "ActiveState") == "failed" })
	journal := sh(t, "journalctl --no-pager -u "+service)
	for _, want := range []string{configPath + ":1: ", configPath + ":2: "} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal has no error at %s\n%s", want, journal)
		}
	}
	sh(t, "systemctl reset-failed "+service)
}

// withoutDebugfs starts the unit where debugfs is masked, as hardening guides have it.
func withoutDebugfs(t *testing.T) {
	sh(t, "systemctl stop "+service+" && systemctl mask --runtime --now sys-kernel-debug.mount")
	configure(t, "auto")
	sh(t, "systemctl start "+service)
	state{source: "referenced"}.works(t)
	sh(t, "systemctl unmask --runtime sys-kernel-debug.mount && systemctl start sys-kernel-debug.mount")
}
