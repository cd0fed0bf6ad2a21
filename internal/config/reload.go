package config

import (
	"fmt"
	"strings"
)

// CheckReload returns an error that names what is not the same in next as in c,
// though it cannot change while the exporter runs. C is the config that it was
// started with, and source the one that it found to work: to name it in place of
// "auto" changes nothing. What the source does not use may change.
func (c *Config) CheckReload(next *Config, source string) error {
	var changed []string
	differ := func(key, was, is string) {
		changed = append(changed, fmt.Sprintf("%s (was %s, now %s)", key, printable(was), printable(is)))
	}
	if next.Source != c.Source && next.Source != source {
		differ("source", c.Source, next.Source)
	} else if next.Source == "replay" {
		if next.Replay.File != c.Replay.File {
			differ("replay.file", c.Replay.File, next.Replay.File)
		}
		if next.Replay.Speed != c.Replay.Speed {
			differ("replay.speed", fmt.Sprint(c.Replay.Speed), fmt.Sprint(next.Replay.Speed))
		}
	}
	if changed == nil {
		return nil
	}
	return fmt.Errorf("%s: cannot change while the exporter runs, restart it or take the change back", strings.Join(changed, ", "))
}
