package main

import (
	"errors"
	"fmt"
	"io/fs"

	"mglru_exporter/internal/config"
)

// A configFile is where the configuration is said to be.
type configFile struct {
	name  string
	named bool // by the user, not by default
	// addresses tells whether it may have ranges of them.
	addresses bool
}

// exposeAddresses is the flag of serve that allows ranges of addresses.
const exposeAddresses = "web.expose-addresses"

// load reads the configuration. If there is no such file the error says how to
// make one.
func (f configFile) load() (*config.Config, error) {
	cfg, err := config.Load(f.name)
	switch {
	case err == nil && !f.addresses:
		errs := cfg.CheckAddresses("--" + exposeAddresses)
		for i := range errs {
			errs[i] = fmt.Errorf("%s: %w", f.name, errs[i])
		}
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		return cfg, nil
	case !errors.Is(err, fs.ErrNotExist):
		return cfg, err
	case f.named:
		return nil, fmt.Errorf("config file %s: %w", f.name, fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("config file %s: %w, copy config.example.yaml there or name another with --config.file", f.name, fs.ErrNotExist)
	}
}
