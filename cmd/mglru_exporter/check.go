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
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/source"
)

// A checkCommand is the command that tells whether serve would work.
type checkCommand struct {
	sys    system
	out    io.Writer
	output string
}

// A checkReport is the answer of check. Its JSON form is for programs.
type checkReport struct {
	// OK tells whether everything that was looked at is in order.
	OK bool `json:"ok"`
	// Config is left out if there is no file and none was asked for.
	Config *configReport `json:"config,omitempty"`
	// Sources are those that the config allows, in the order of preference.
	Sources []preflight.Report `json:"sources"`
}

type configReport struct {
	File   string   `json:"file"`
	OK     bool     `json:"ok"`
	Memcgs int      `json:"memcgs"`
	Errors []string `json:"errors,omitempty"`
	// Notes are what serve asks for beyond the file.
	Notes []string `json:"notes,omitempty"`
}

// run prints the answer and returns whether all is well. A config is only
// demanded if one was named: before there is one, the sources are of interest.
func (c checkCommand) run(file configFile) (bool, error) {
	var rep checkReport
	name, configOK, recorded := config.SourceAuto, true, ""
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
	case !errors.Is(err, fs.ErrNotExist) || file.named:
		rep.Config = &configReport{File: file.name, Errors: strings.Split(err.Error(), "\n")}
		configOK = false
	}
	if name == "replay" {
		rep.Sources = []preflight.Report{source.PreflightReplay(recorded)}
	} else {
		rep.Sources = c.sys.preflight(name)
	}
	works := false
	for _, r := range rep.Sources {
		works = works || r.OK()
	}
	rep.OK = configOK && works
	if c.output == "json" {
		enc := json.NewEncoder(c.out)
		enc.SetIndent("", "  ")
		return rep.OK, enc.Encode(rep)
	}
	return rep.OK, c.writeText(file, &rep)
}

// checkSelection tells why a recording has not what the config wants to select by.
// One that cannot be read is the preflight's to tell of.
func checkSelection(cfg *config.Config) error {
	if r, err := source.OpenReplay(cfg.Replay.File, 0, slog.New(slog.DiscardHandler)); err == nil {
		h := r.Header()
		return errors.Join(selects(cfg, &h), r.Close())
	}
	return nil
}

func (c checkCommand) writeText(file configFile, rep *checkReport) error {
	var b strings.Builder
	switch cfg := rep.Config; {
	case cfg == nil:
		fmt.Fprintf(&b, "config %s: not there yet, copy config.example.yaml there or name another with --config.file\n\n", file.name)
	case cfg.OK:
		fmt.Fprintf(&b, "config %s: valid, entries for memcgs: %d\n", cfg.File, cfg.Memcgs)
		for _, n := range cfg.Notes {
			fmt.Fprintf(&b, "  note: %s\n", n)
		}
		b.WriteByte('\n')
	default:
		fmt.Fprintf(&b, "config %s: not valid\n", cfg.File)
		for _, e := range cfg.Errors {
			fmt.Fprintf(&b, "  %s\n", e)
		}
		b.WriteByte('\n')
	}
	if err := preflight.Write(&b, rep.Sources); err != nil {
		return err
	}
	_, err := io.WriteString(c.out, b.String())
	return err
}
