package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/common/version"
	"golang.org/x/sys/unix"

	"mglru_exporter/internal/config"
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/recording"
	"mglru_exporter/internal/sampler"
	"mglru_exporter/internal/source"
)

// A recordCommand is the command that watches memory and writes down what it
// sees, for the source replay.
type recordCommand struct {
	sys              system
	out              io.Writer
	file             string
	duration         time.Duration
	windows          int
	addresses        bool
	force            bool
	keepCapabilities []string
}

// run records until the context ends or there is enough. What was recorded
// before an error is in the file.
func (c recordCommand) run(ctx context.Context, file configFile, log *slog.Logger) (err error) {
	switch {
	case c.duration < 0:
		return fmt.Errorf("--duration: %s is below 0, write 0 to record until told to stop", c.duration)
	case c.windows < 0:
		return fmt.Errorf("--windows: %d is below 0, write 0 to record until told to stop", c.windows)
	}
	keep, err := parseCapabilities(c.keepCapabilities)
	if err != nil {
		return err
	}
	cfg, err := file.load()
	if err != nil {
		return err
	}
	if cfg.Source == "replay" {
		return errors.New("the config says source: replay, which is a recording already; name another source")
	}
	if cfg.Aging.Concurrency != 1 {
		one := *cfg
		one.Aging.Concurrency = 1
		cfg = &one
		log.Info("A recording has one pass at a time", "aging.concurrency", 1)
	}
	// The file comes before the source: what cannot be written need not be
	// watched. It is not touched until there is something to be written.
	out, err := c.create()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	src, deps, err := c.sys.parts(cfg, log)
	if err != nil {
		return errors.Join(err, c.unmake())
	}
	if c.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.duration)
		defer cancel()
	}
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	log.Info("Recording", "file", c.file, "recorded_source", src.Info().Name)
	r, err := newRecording(out, cfg, src, deps, c.addresses, enough)
	if err != nil {
		return errors.Join(err, src.Close())
	}
	count := newCounter(c.windows, enough)
	r.ended = func() { count.look(r.sampler.Snapshot()) }
	if err := r.sampler.Start(); err != nil {
		return errors.Join(err, c.unmake())
	}
	c.sys.confine(src.Info().Name, keep, log)
	if err := r.sampler.RunStarted(ctx); err != nil {
		return err
	}
	if err := r.recorder.Err(); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	windows, memcgs := count.counts()
	_, err = fmt.Fprintf(c.out, "%s: %d windows of %d memcgs in %s, %d bytes\n",
		c.file, windows, memcgs, time.Since(r.start).Round(time.Second/10), r.writer.Size())
	return err
}

// create makes the file, for its owner alone. One that is there is kept unless told
// otherwise, and then goes as a whole: its links, its mode and its owner may be
// somebody else's. Of what is no regular file only a character device is written to.
func (c recordCommand) create() (*os.File, error) {
	info, err := os.Lstat(c.file)
	switch there := err == nil; {
	case there && !c.force:
		return nil, fmt.Errorf("%s is there already, name another file or say --force", c.file)
	case there && info.Mode().IsRegular():
		if err := os.Remove(c.file); err != nil {
			return nil, fmt.Errorf("overwrite the recording: %w", err)
		}
	case there && info.Mode()&fs.ModeCharDevice != 0:
		f, err := os.OpenFile(c.file, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, fmt.Errorf("open the device: %w", err)
		}
		return f, nil
	case there:
		return nil, fmt.Errorf("%s is no regular file (%s), name another", c.file, info.Mode().Type())
	}
	// O_EXCL follows no link, and opens nothing that somebody has put there meanwhile.
	f, err := os.OpenFile(c.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create the recording: %w", err)
	}
	return f, nil
}

// unmake removes a file that create has made and nothing was written to.
func (c recordCommand) unmake() error {
	info, err := os.Lstat(c.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || !info.Mode().IsRegular(): // a device stays
		return err
	}
	return os.Remove(c.file)
}

// A recordingSampler is a sampler whose every fact is written down.
type recordingSampler struct {
	sampler  *sampler.Sampler
	recorder *source.Recorder
	writer   *recording.Writer
	start    time.Time
	ended    func()
}

// newRecording makes a sampler that records into w. Failed is called when that
// cannot be written to.
func newRecording(w io.Writer, cfg *config.Config, src source.Source, deps sampler.Deps, addresses bool, failed func()) (*recordingSampler, error) {
	r := &recordingSampler{start: time.Now()}
	h := recording.Header{
		Started:         r.start,
		Program:         program + " " + version.Version,
		Kernel:          kernelRelease(),
		Source:          src.Info().Name,
		Granularity:     src.Info().Granularity,
		PassesPerWindow: cfg.Aging.PassesPerWindow,
		Addresses:       addresses,
		Mappings:        src.Info().Granularity == "page",
		SkipReasons:     deps.SkipReasons,
	}
	if m, ok := src.(source.MappingSource); ok {
		h.SkipReasons = m.SkipReasons()
	}
	watched, err := matcher(cfg)
	if err != nil {
		return nil, err
	}
	if r.writer, err = recording.NewWriter(w, h); err != nil {
		return nil, fmt.Errorf("write the recording: %w", err)
	}
	r.recorder = source.NewRecorder(r.writer, h, deps.Cgroups, deps.Processes, src, source.RecorderOptions{
		Watched: watched, Addresses: addresses, Failed: func(error) { failed() },
	})
	deps.Cgroups, deps.Processes, deps.Now = r.recorder, r.recorder, r.recorder.Now
	if deps.Generations != nil {
		deps.Generations = r.recorder.Generations(deps.Generations)
	}
	deps.Ended = r.recorder.Ended
	deps.Published = func(string) {
		if r.ended != nil {
			r.ended()
		}
	}
	r.sampler, err = sampler.New(cfg, r.recorder.Source(), deps)
	return r, err
}

// matcher returns what tells which memcgs the config names.
func matcher(cfg *config.Config) (func(path string) bool, error) {
	var patterns []memcg.Pattern
	for i := range cfg.Memcgs {
		p, err := memcg.CompilePattern(cfg.Memcgs[i].Path)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return func(path string) bool {
		for _, p := range patterns {
			if p.Match(path) {
				return true
			}
		}
		return false
	}, nil
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// A counter counts windows, and says when there are enough: when every memcg
// that has had a window has had that many. The first window of a memcg is not
// counted: it tells what is resident, and nothing of heat.
type counter struct {
	enough  func()
	windows int // 0 is never enough

	mu   sync.Mutex // guards what follows
	ends map[string]time.Time
	n    map[string]int
}

func newCounter(windows int, enough func()) *counter {
	return &counter{enough: enough, windows: windows, ends: map[string]time.Time{}, n: map[string]int{}}
}

func (c *counter) look(s *heat.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fewest := -1
	for _, m := range s.Memcgs {
		if m.WindowEnd.IsZero() {
			continue
		}
		if last, ok := c.ends[m.Path]; !ok {
			c.n[m.Path] = 0
		} else if !m.WindowEnd.Equal(last) {
			c.n[m.Path]++
		}
		c.ends[m.Path] = m.WindowEnd
		if n := c.n[m.Path]; fewest < 0 || n < fewest {
			fewest = n
		}
	}
	if c.windows > 0 && fewest >= c.windows {
		c.enough()
	}
}

// counts returns how many windows were counted, of how many memcgs.
func (c *counter) counts() (windows, memcgs int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.n {
		windows += n
	}
	return windows, len(c.n)
}
