package ui_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"mglru_exporter/internal/web/ui"
)

func get(t *testing.T, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	ui.Handler().ServeHTTP(w, r)
	return w
}

func TestFiles(t *testing.T) {
	for path, kind := range map[string]string{
		"/heatmap":           "text/html; charset=utf-8",
		"/heatmap/style.css": "text/css; charset=utf-8",
		"/heatmap/app.js":    "text/javascript; charset=utf-8",
		"/heatmap/icon.svg":  "image/svg+xml",
	} {
		w := get(t, http.MethodGet, path)
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != kind || w.Body.Len() == 0 {
			t.Errorf("%s: %d, %q, %d bytes, want 200 and %q", path, w.Code, got, w.Body.Len(), kind)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; script-src 'self'; style-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, policy)
		}
		tag := w.Header().Get("ETag")
		if again := get(t, http.MethodGet, path, "If-None-Match", tag); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s: %d and %d bytes for what the browser has already, want 304", path, again.Code, again.Body.Len())
		}
	}
	for _, path := range []string{"/heatmap/", "/heatmap/index.html", "/heatmap/static/app.js", "/heatmap/../ui.go", "/heatmap/none.js", "/"} {
		if w := get(t, http.MethodGet, path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
	if w := get(t, http.MethodPost, "/heatmap"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d, want 405", w.Code)
	}
}

// TestNothingFromElsewhere looks for addresses and for what the policy forbids,
// also in what the other tests do not run.
func TestNothingFromElsewhere(t *testing.T) {
	page := get(t, http.MethodGet, ui.Path).Body.String()
	if inline := regexp.MustCompile(`(?i)\s(on\w+|style)=|<style|<script[^>]*>[^<]`).FindString(page); inline != "" {
		t.Errorf("the page has %q, which its policy forbids", inline)
	}
	files := regexp.MustCompile(`(?:href|src)="(heatmap/[^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(files) != 3 {
		t.Errorf("the page refers to %v, want a style sheet, a script and an icon", files)
	}
	seen := map[string]bool{}
	var look func(path string)
	look = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		w := get(t, http.MethodGet, path)
		if w.Code != http.StatusOK {
			t.Errorf("%s is referred to and is not there", path)
		}
		body := strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", "")
		if at := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`).FindString(body); at != "" {
			t.Errorf("%s has %q", path, at)
		}
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(body, -1) {
			look("/heatmap/" + m[1])
		}
	}
	for _, f := range files {
		look("/" + f[1])
	}
	if len(seen) < 10 {
		t.Errorf("only %d files were looked at", len(seen))
	}
}
