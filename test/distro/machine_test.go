//go:build guest

package distro

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	service     = "mglru_exporter"
	configPath  = "/etc/mglru_exporter/config.yaml"
	enabledPath = "/sys/kernel/mm/lru_gen/enabled"
	checkout    = "/src"
	// patience is many times what anything here takes on a busy machine.
	patience = 5 * time.Minute
)

// sh runs a command line in the checkout, and returns what it says. It must succeed.
func sh(t *testing.T, line string) string {
	t.Helper()
	out, err := shell(t, line)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

func shell(t *testing.T, line string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", line)
	cmd.Dir = checkout
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// follow runs the commands of a section of a document that begin with "sudo" and a word,
// without the "sudo".
func follow(t *testing.T, document, section, word string) {
	t.Helper()
	text := read(t, checkout+"/docs/"+document)
	_, text, found := strings.Cut(text, "\n## "+section+"\n")
	text, _, _ = strings.Cut(text, "\n## ")
	commands := regexp.MustCompile(`(?m)^    sudo (`+word+` .*)$`).FindAllStringSubmatch(text, -1)
	if !found || len(commands) == 0 {
		t.Fatalf("docs/%s has no section %q with commands like sudo %s", document, section, word)
	}
	for _, c := range commands {
		sh(t, c[1])
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unit returns properties of the unit, such as "active running".
func unit(t *testing.T, properties ...string) string {
	t.Helper()
	var values []string
	for _, p := range properties {
		values = append(values, sh(t, "systemctl show --value -p "+p+" "+service))
	}
	return strings.Join(values, " ")
}

// get asks the exporter, and returns the answer's status, 0 where there is none.
func get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:9934"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// metrics reports whether the exporter's metrics have each of these texts.
func metrics(t *testing.T, want ...string) bool {
	t.Helper()
	_, body := get(t, "/metrics")
	for _, w := range want {
		if !strings.Contains(body, w) {
			return false
		}
	}
	return true
}

// wait waits until something is so.
func wait(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(patience)
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-late:
			status, ready := get(t, "/-/ready")
			journal, _ := shell(t, "journalctl --no-pager -n 30 -u "+service)
			t.Fatalf("after %v: not %s; /-/ready is %d: %s\n%s", patience, what, status, ready, journal)
		}
	}
}
