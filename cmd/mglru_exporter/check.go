package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/name"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// A checkCommand is the command that says what serve would do here.
type checkCommand struct {
	sys        system
	out        io.Writer
	output     string
	verbose    bool
	configOnly bool
}

// A checkReport is the answer of check. Its JSON form is for programs.
type checkReport struct {
	// OK reports whether serve would measure something.
	OK bool `json:"ok"`
	// User says what cannot be judged as another user than root; empty as root.
	User string `json:"user,omitempty"`
	// Verdict and Sources are left out if only the config is of interest.
	Verdict *preflight.Verdict `json:"verdict,omitempty"`
	// Config is left out if there is no file and none was asked for.
	Config *configReport `json:"config,omitempty"`
	// Sources are those that the config allows, in the order of preference.
	Sources []preflight.Report `json:"sources,omitempty"`
}

type configReport struct {
	File   string   `json:"file"`
	OK     bool     `json:"ok"`
	Memcgs int      `json:"memcgs"`
	Errors []string `json:"errors,omitempty"`
	// Notes are what serve asks for beyond the file, and what it does not find.
	Notes []string `json:"notes,omitempty"`
}

// run prints the answer and returns the exit code. A config is only demanded if one
// was named, or nothing else is of interest: before there is one, the sources are.
func (c checkCommand) run(file configFile) (int, error) {
	rep := checkReport{OK: true}
	name, recorded := config.SourceAuto, ""
	cfg, err := file.load()
	if err == nil {
		if name, recorded = cfg.Source, cfg.Replay.File; name == "replay" {
			err = checkSelection(cfg)
		}
	}
	switch {
	case err == nil:
		rep.Config = &configReport{File: file.name, OK: true, Memcgs: len(cfg.Memcgs)}
		for _, e := range cfg.CheckAddresses("--" + exposeAddresses) {
			rep.Config.Notes = append(rep.Config.Notes, e.Error())
		}
		if name != "replay" && !c.configOnly {
			rep.Config.Notes = append(rep.Config.Notes, c.unmatched(cfg)...)
		}
	case !errors.Is(err, fs.ErrNotExist) || file.named || c.configOnly:
		rep.Config = &configReport{File: file.name, Errors: strings.Split(err.Error(), "\n")}
		rep.OK = false
	}
	if !c.configOnly {
		if name == "replay" {
			rep.Sources = []preflight.Report{source.PreflightReplay(recorded)}
		} else {
			rep.User = c.user()
			rep.Sources = c.sys.preflight(name)
		}
		v := c.judge(name, rep.Sources)
		rep.Verdict = &v
		rep.OK = rep.OK && v.Source != preflight.None
	}
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return rep.exitCode(), enc.Encode(rep)
	}
	return rep.exitCode(), c.writeText(file, &rep)
}

// unmatched says which paths in the config match no memcg. Where the memcgs cannot
// be listed, the preflight reports why.
func (c checkCommand) unmatched(cfg *config.Config) []string {
	if c.sys.cgroups == nil {
		return nil
	}
	list, err := c.sys.cgroups()
	if err != nil {
		return nil
	}
	notes, err := sampler.Unmatched(cfg, list)
	if err != nil {
		return []string{err.Error()}
	}
	return notes
}

// judge returns the verdict on the source that the config names. If that one is not
// usable it names the one that would be.
func (c checkCommand) judge(name string, reports []preflight.Report) preflight.Verdict {
	v := preflight.Judge(reports)
	if v.Source != preflight.None || name == config.SourceAuto || name == "replay" {
		return v
	}
	if auto := preflight.Judge(c.sys.preflight(config.SourceAuto)); auto.Source != preflight.None {
		v.Text += "; with source: auto it would use " + auto.Source
	}
	return v
}

// exitCode is for scripts.
func (r *checkReport) exitCode() int {
	switch {
	case r.Config != nil && !r.Config.OK:
		return exitFailure
	case r.Verdict == nil || r.Verdict.Granularity == preflight.Page:
		return exitOK
	case r.Verdict.Granularity == preflight.Mapping:
		return exitCoarse
	default:
		return exitNoSource
	}
}

// user says what another user than root cannot judge.
func (c checkCommand) user() string {
	if c.sys.uid == 0 {
		return ""
	}
	return fmt.Sprintf("run as uid %d, not as root: judges the config and the kernel, and what this user may do; run it as root to learn what the exporter may do", c.sys.uid)
}

// checkSelection returns what the config wants to select by and its recording does
// not have. One that cannot be read is the preflight's to report.
func checkSelection(cfg *config.Config) error {
	if r, err := source.OpenReplay(cfg.Replay.File, 0, slog.New(slog.DiscardHandler)); err == nil {
		h := r.Header()
		return errors.Join(selects(cfg, &h), r.Close())
	}
	return nil
}

func (c checkCommand) writeText(file configFile, rep *checkReport) error {
	var b strings.Builder
	if rep.User != "" {
		fmt.Fprintln(&b, rep.User)
	}
	switch v := rep.Verdict; {
	case v == nil:
	case rep.exitCode() == exitFailure:
		fmt.Fprintf(&b, "would not start: %s is not valid; once it is, %s\n\n", rep.Config.File, v.Text)
	default:
		fmt.Fprintf(&b, "%s\n\n", v.Text)
	}
	switch cfg := rep.Config; {
	case cfg == nil:
		fmt.Fprintf(&b, "config %s: not there yet, copy config.example.yaml there or name another with --config.file\n", file.name)
	case cfg.OK:
		fmt.Fprintf(&b, "config %s: valid, entries for memcgs: %d\n", cfg.File, cfg.Memcgs)
		for _, n := range cfg.Notes {
			fmt.Fprintf(&b, "  note: %s\n", n)
		}
	default:
		fmt.Fprintf(&b, "config %s: not valid\n", cfg.File)
		for _, e := range cfg.Errors {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	if rep.Verdict != nil {
		b.WriteByte('\n')
		if err := c.writeSources(&b, rep); err != nil {
			return err
		}
	}
	_, err := io.WriteString(c.out, name.EscapeLines(b.String()))
	return err
}

func (c checkCommand) writeSources(b *strings.Builder, rep *checkReport) error {
	if c.verbose || rep.Sources[0].Source == "replay" {
		return preflight.Write(b, rep.Sources)
	}
	if err := preflight.WriteBrief(b, rep.Sources, *rep.Verdict); err != nil {
		return err
	}
	b.WriteString("\n--verbose lists all requirements, and what each source disturbs and cannot see.\n")
	return nil
}
