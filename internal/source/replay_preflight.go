package source

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/recording"
)

// PreflightReplay tells whether a recording can be played.
func PreflightReplay(file string) preflight.Report {
	r := preflight.Requirement{Name: "recording", Repair: "make one with mglru_exporter record FILE, and name it in replay.file"}
	detail, granularity, err := readThrough(file)
	if err != nil {
		r.Detail = err.Error()
	} else {
		r.Met, r.Repair, r.Detail = true, "", detail
	}
	return preflight.Report{Source: "replay", Granularity: granularity, Requirements: []preflight.Requirement{r}}
}

// readThrough returns what a recording has, and its granularity.
func readThrough(file string) (detail, granularity string, _ error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	d, err := readerOf(f)
	if err != nil {
		return "", "", err
	}
	var ev recording.Event
	passes := 0
	for {
		switch err := d.Next(&ev); {
		case errors.Is(err, io.EOF):
			h := d.Header()
			return fmt.Sprintf("%s has %d passes in %s, recorded %s on Linux %s with source %s",
				file, passes, ev.At.Round(time.Second), h.Started.UTC().Format(time.RFC3339), h.Kernel, h.Source), h.Granularity, nil
		case err != nil && passes > 0:
			return "", "", fmt.Errorf("%w; the %d passes before can be played", err, passes)
		case err != nil:
			return "", "", err
		}
		if ev.Kind == recording.Done {
			passes++
		}
	}
}
