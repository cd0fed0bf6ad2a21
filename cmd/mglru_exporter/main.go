// Command mglru_exporter tells Prometheus which memory of which process is hot,
// and which is cold.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"mglru_exporter/internal/name"
)

const (
	program       = "mglru_exporter"
	defaultConfig = "/etc/mglru_exporter/config.yaml"
	defaultListen = ":9934"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr, host()))
}

// Exit codes.
const (
	exitOK = iota
	exitFailure
	exitUsage
	// exitCoarse and exitNoSource are of check: a source that sees mappings only, and
	// no usable source.
	exitCoarse
	exitNoSource
)

// run runs a command line until it is done or the context ends, and returns the
// exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, sys system) (code int) {
	// kingpin ends the process after --help and --version.
	type terminated int
	defer func() {
		switch r := recover().(type) {
		case nil:
		case terminated:
			code = int(r)
		default:
			panic(r)
		}
	}()
	app := kingpin.New(program, "Exports which memory of which process is hot, and which is cold, from the kernel's multi-generational LRU.")
	app.UsageWriter(stdout).ErrorWriter(stderr).Terminate(func(code int) { panic(terminated(code)) })
	app.Version(version.Print(program))
	app.HelpFlag.Short('h')
	app.VersionFlag.Short('V')

	var file configFile
	app.Flag("config.file", "Path of the configuration; config.example.yaml explains each key.").
		Default(defaultConfig).IsSetByUser(&file.named).StringVar(&file.name)
	logging := &promslog.Config{Writer: stderr}
	promslogflag.AddFlags(app, logging)

	serve := app.Command("serve", "Watch memory and serve metrics.").Default()
	sv := serveCommand{sys: sys}
	sv.web = kingpinflag.AddFlags(serve, defaultListen)
	serve.Flag("web.telemetry-path", "Path under which to expose metrics.").
		Default("/metrics").StringVar(&sv.telemetryPath)
	serve.Flag("web.disable-exporter-metrics", "Leave out metrics about the exporter's own process (promhttp_*, process_*, go_*).").
		BoolVar(&sv.noExporterMetrics)
	serve.Flag("web.max-requests", "How many scrapes may run at the same time, 0 for any number.").
		Default("40").IntVar(&sv.maxRequests)
	serve.Flag("web.max-connections", "How many connections may be open, 0 for any number; for one more the least busy is closed.").
		Default("512").IntVar(&sv.maxConnections)
	serve.Flag(exposeAddresses, "Let the API and mglru_address_band_info tell virtual addresses, and the config have ranges of them. Whoever reads them learns the processes' memory layout.").
		BoolVar(&sv.exposeAddresses)

	serve.Flag("web.enable-lifecycle", "Allow POST /-/reload, which reads the configuration again. SIGHUP always does.").
		BoolVar(&sv.lifecycle)

	const keepHelp = "A capability to keep, such as CAP_SYS_NICE, or all; repeatable. All that the source does not need are dropped once it has started."
	serve.Flag("capabilities.keep", keepHelp).StringsVar(&sv.keepCapabilities)

	check := app.Command("check", "Say which source would be used on this machine, what a better one needs, and whether the configuration is valid. "+
		"Exit status: 0 page-exact, 1 configuration not valid, 2 usage, 3 per mapping only, 4 no usable source.")
	ck := checkCommand{sys: sys, out: stdout}
	check.Flag("output", "Form of the answer: text or json.").
		Default("text").EnumVar(&ck.output, "text", "json")
	check.Flag("verbose", "List all requirements of all sources, and what each disturbs and cannot see.").
		Short('v').BoolVar(&ck.verbose)
	check.Flag("config-only", "Judge only the configuration. That needs no privileges.").
		BoolVar(&ck.configOnly)

	record := app.Command("record", "Watch memory and write down what there is to see, for the source replay.")
	rc := recordCommand{sys: sys, out: stdout}
	record.Arg("file", "The file to write; see docs/RECORDING.md.").Required().StringVar(&rc.file)
	record.Flag("duration", "Stop after this long, 0 for only when told to.").
		Default("0").DurationVar(&rc.duration)
	record.Flag("windows", "Stop after this many windows of each memcg, 0 for only when told to.").
		Default("0").IntVar(&rc.windows)
	record.Flag("expose-addresses", "Write down virtual addresses as they are. Whoever reads them learns the processes' memory layout.").
		BoolVar(&rc.addresses)
	record.Flag("force", "Overwrite the file if it is there.").
		BoolVar(&rc.force)

	record.Flag("capabilities.keep", keepHelp).StringsVar(&rc.keepCapabilities)

	show := app.Command("top", "Show on this terminal which memory is hot, and which is cold, as a running exporter sees it.")
	tp := topCommand{out: stdout}
	tp.flags(show)

	selected, err := app.Parse(args)
	if err != nil {
		complain(stderr, fmt.Errorf("%w, try --help", ofFlag(app, args, err)))
		return exitUsage
	}
	file.addresses = selected != serve.FullCommand() || sv.exposeAddresses
	if selected == check.FullCommand() {
		code, err := ck.run(file)
		if err != nil {
			complain(stderr, err)
			return exitFailure
		}
		return code
	}
	command := sv.run
	switch selected {
	case record.FullCommand():
		command = rc.run
	case show.FullCommand():
		command = tp.run
	}
	if err := command(ctx, file, slog.New(name.LogHandler(promslog.New(logging).Handler()))); err != nil {
		complain(stderr, err)
		return exitFailure
	}
	return exitOK
}

// ofFlag names the flag whose value is wrong, which the parser's error does not. It
// sets values again, so the command line must not be used after it.
func ofFlag(app *kingpin.Application, args []string, err error) error {
	parsed, parseErr := app.ParseContext(args)
	if parseErr != nil {
		return err
	}
	for _, e := range parsed.Elements {
		flag, ok := e.Clause.(*kingpin.FlagClause)
		if !ok || e.Value == nil {
			continue
		}
		if m := flag.Model(); m.Value.Set(*e.Value) != nil {
			return fmt.Errorf("--%s: %w", m.Name, err)
		}
	}
	return err
}

// complain prints each line of an error.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(name.EscapeLines(err.Error()), "\n") {
		fmt.Fprintf(w, "%s: error: %s\n", program, line)
	}
}
