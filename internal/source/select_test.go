package source

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
)

// TestOpen: the first source that works is taken, and the log says why not those
// before it.
func TestOpen(t *testing.T) {
	works := []preflight.Requirement{{Name: "root", Met: true}}
	var opened string
	source := func(name string, requirements ...preflight.Requirement) candidate {
		return candidate{
			name:      name,
			preflight: func() []preflight.Requirement { return requirements },
			open:      func(*process.Guard, *slog.Logger) (Source, error) { opened = name; return nil, nil },
		}
	}
	none := source("hooks",
		preflight.Requirement{Name: "root", Met: true, Detail: "uid 0"},
		preflight.Requirement{Name: "patches", Detail: "the kernel has no mglru_pte_probe", Repair: "boot one"},
		preflight.Requirement{Name: "MGLRU on", Detail: "enabled is\n0x0000", Repair: "echo y"})
	noBTF := source("stock", preflight.Requirement{Name: "BTF", Detail: "no /sys/kernel/btf/vmlinux", Repair: "boot another"})
	const (
		hooksOver = `level=INFO msg="Source not usable, trying the next" unusable=hooks missing="patches: the kernel has no mglru_pte_probe; MGLRU on: enabled is 0x0000"` + "\n"
		stockOver = `level=INFO msg="Source not usable, trying the next" unusable=stock missing="BTF: no /sys/kernel/btf/vmlinux"` + "\n"
	)
	for _, tc := range []struct {
		name    string
		among   []candidate
		want    string
		wantLog string
		wantErr []string
	}{
		{"auto", []candidate{source("hooks", works...), source("stock", works...)}, "hooks",
			`level=INFO msg="Using source hooks" requested=auto` + "\n", nil},
		{"auto", []candidate{none, noBTF, source("referenced", works...)}, "referenced",
			hooksOver + stockOver + `level=INFO msg="Using source referenced" requested=auto` + "\n", nil},
		{"stock", []candidate{none, source("stock", works...)}, "stock",
			`level=INFO msg="Using source stock" requested=stock` + "\n", nil},
		{"auto", []candidate{none, noBTF}, "", "",
			[]string{"no source works here, see mglru_exporter check; source stock lacks BTF: no /sys/kernel/btf/vmlinux; to repair: boot another"}},
		{"auto", []candidate{none}, "", "",
			[]string{"source hooks lacks patches: the kernel has no mglru_pte_probe; to repair: boot one; and MGLRU on: enabled is 0x0000; to repair: echo y"}},
		{"stock", []candidate{source("hooks", works...), noBTF}, "", "", []string{"source stock lacks BTF"}},
		{"stock", []candidate{source("stock", preflight.Requirement{Name: "x86-64", Detail: "arm64"})}, "", "", []string{"no source works here: stock lacks x86-64: arm64"}},
		{"ebpf", []candidate{none}, "", "", []string{`source "ebpf" is not known`}},
	} {
		t.Run(tc.name+" is "+tc.want, func(t *testing.T) {
			var out bytes.Buffer
			log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
			opened = ""
			_, err := open(tc.among, tc.name, process.NewGuard(), log)
			if opened != tc.want || (err == nil) != (tc.want != "") {
				t.Fatalf("opened %q, error %v, want %q", opened, err, tc.want)
			}
			for _, want := range tc.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if diff := cmp.Diff(tc.wantLog, out.String()); diff != "" {
				t.Errorf("log (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNextIsInTheOrderOfPreference(t *testing.T) {
	for name, want := range map[string][]string{"hooks": {"stock", "referenced"}, "stock": {"referenced"}, "referenced": nil} {
		if diff := cmp.Diff(want, Next(name), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", name, diff)
		}
	}
}
