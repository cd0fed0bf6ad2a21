package source

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mglru_exporter/bpf"
	"mglru_exporter/internal/config"
	"mglru_exporter/internal/preflight"
	"mglru_exporter/internal/process"
)

// lruGenPath is debugfs' file of generations. A test may have another.
const lruGenPath = "/sys/kernel/debug/lru_gen"

// A candidate is a source that might work here.
type candidate struct {
	name        string
	granularity string
	preflight   func() []preflight.Requirement
	open        func(reads *process.Guard, log *slog.Logger) (Source, error)
	notes       []string
}

// Next returns the sources that "auto" would take if the named one and those before
// it were not there.
func Next(name string) []string {
	var names []string
	for _, c := range candidates() {
		names = append(names, c.name)
	}
	return names[slices.Index(names, name)+1:]
}

// report judges the machine.
func (c candidate) report() preflight.Report {
	return preflight.Report{Source: c.name, Granularity: c.granularity, Requirements: c.preflight(), Notes: c.notes}
}

// candidates are in the order of preference.
func candidates() []candidate {
	return []candidate{
		{"hooks", preflight.Page, preflightHooks, openHooks, notesHooks()},
		{"stock", preflight.Page, preflightStock, openStock, notesStock()},
		{"referenced", preflight.Mapping, preflightReferenced, openReferenced, notesReferenced()},
	}
}

// Preflight tells, for the named source or for all of them ("auto"), what they
// need and whether it is there. It changes nothing.
func Preflight(name string) []preflight.Report {
	var reports []preflight.Report
	for _, c := range candidates() {
		if name == config.SourceAuto || name == c.name {
			reports = append(reports, c.report())
		}
	}
	return reports
}

// Open returns the named source, or the first that works ("auto"). The log says
// which, and why not the ones before it. Where none works, the error says what the
// one lacks that could be made to work with the fewest repairs. What the source reads
// of processes goes through reads.
func Open(name string, reads *process.Guard, log *slog.Logger) (Source, error) {
	return open(candidates(), name, reads, log)
}

// open is Open among the given sources.
func open(among []candidate, name string, reads *process.Guard, log *slog.Logger) (Source, error) {
	var over []preflight.Report
	for _, c := range among {
		if name != config.SourceAuto && name != c.name {
			continue
		}
		r := c.report()
		if r.OK() {
			for _, o := range over {
				log.Info("Source not usable, trying the next", "unusable", o.Source, "missing", missing(o))
			}
			log.Info("Using source "+c.name, "requested", name)
			return c.open(reads, log)
		}
		over = append(over, r)
	}
	if len(over) == 0 {
		return nil, fmt.Errorf("source %q is not known", name)
	}
	return nil, unusable(over)
}

// unusable is the error where no source works.
func unusable(reports []preflight.Report) error {
	v := preflight.Judge(reports)
	if v.Better == "" {
		var all []string
		for _, r := range reports {
			all = append(all, r.Source+" lacks "+missing(r))
		}
		return fmt.Errorf("no source works here: %s", strings.Join(all, "; "))
	}
	var lacks []string
	for _, n := range v.Needs {
		lacks = append(lacks, n.Name+": "+strings.Join(strings.Fields(n.Detail), " ")+"; to repair: "+n.Repair)
	}
	return fmt.Errorf("no source works here, see mglru_exporter check; source %s lacks %s", v.Better, strings.Join(lacks, "; and "))
}

// missing says in one line what a source lacks.
func missing(r preflight.Report) string {
	var all []string
	for _, m := range r.Missing() {
		all = append(all, m.Name+": "+strings.Join(strings.Fields(m.Detail), " "))
	}
	return strings.Join(all, "; ")
}

func openHooks(reads *process.Guard, log *slog.Logger) (Source, error) {
	if _, err := pageNodes("/sys"); err != nil {
		return nil, err
	}
	return NewHooks(bpf.HooksOptions{Log: log}, process.NewFS("/proc").With(reads), lruGenPath, "/sys"), nil
}

func preflightHooks() []preflight.Requirement {
	machine := []preflight.Requirement{hooksArchRequirement(runtime.GOARCH), pageSizeRequirement(os.Getpagesize()), pageNodesRequirement("/sys")}
	return append(append(machine, bpf.PreflightHooks()...), lruGenRequirement(lruGenPath, "/proc", "/sys"), memcgPathsRequirement("/proc"), pidNamespaceRequirement("/proc"),
		pagemapRequirement(), pagemapAccess().requirement("/proc"), walkersRequirement("/sys", hooksUnobserved(bpf.HooksSeeDAMON() == nil)))
}

// notesHooks is what those should know who read its numbers.
func notesHooks() []string {
	return []string{
		"what a process that runs a KVM guest has not accessed itself is unobserved",
		"a huge page is hot, warm or cold as a whole",
	}
}

// pagemapRequirement asks whether pagemap tells page frame numbers: it reads 0
// for all of them without CAP_SYS_ADMIN.
func pagemapRequirement() preflight.Requirement {
	r := preflight.Requirement{Name: "page frame numbers in /proc/PID/pagemap", Repair: "run as root with all its capabilities, or with CAP_SYS_ADMIN, outside of rootless containers"}
	page := make([]byte, os.Getpagesize())
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		r.Detail = err.Error()
		if errors.Is(err, os.ErrNotExist) {
			r.Repair = "boot a kernel with CONFIG_PROC_PAGE_MONITOR=y"
		}
		return r
	}
	defer f.Close()
	present, err := pagemapHasPFN(f, page)
	switch {
	case err != nil:
		r.Detail = err.Error()
	case !present:
		r.Detail = "the kernel hides them"
	default:
		r.Met, r.Repair, r.Detail = true, "", "they can be read"
	}
	return r
}

func pagemapHasPFN(f *os.File, page []byte) (bool, error) {
	page[0] = 1 // make it resident
	var entry [8]byte
	if _, err := unix.Pread(int(f.Fd()), entry[:], pagemapOffset(page)); err != nil {
		return false, fmt.Errorf("read /proc/self/pagemap: %w", err)
	}
	for _, b := range entry[:6] { // the low 55 bits are the PFN
		if b != 0 {
			return true, nil
		}
	}
	return false, nil
}
