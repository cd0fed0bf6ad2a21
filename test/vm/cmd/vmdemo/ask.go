package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mglru_exporter/internal/api"
)

// until asks each second until there is no error, and says each new one.
func until(ctx context.Context, what string, ask func(context.Context) error) error {
	for said := ""; ; {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			fmt.Printf("waiting for %s: %s\n", what, said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w, waiting for %s: %s", ctx.Err(), what, said)
		case <-time.After(time.Second):
		}
	}
}

func get(ctx context.Context, from string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return string(body), err
}

func getJSON(ctx context.Context, from string, into any) error {
	body, err := get(ctx, from)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

// heatmap returns the heatmap of the process with a comm, with a row for each
// region and all windows that are kept.
func heatmap(ctx context.Context, comm string) (api.Heatmap, error) {
	var h api.Heatmap
	var list api.Processes
	if err := getJSON(ctx, exporterURL+api.ProcessesPath+"?search="+url.QueryEscape(comm), &list); err != nil {
		return h, err
	}
	for _, p := range list.Processes {
		if p.Comm == comm {
			at := strings.Replace(api.HeatmapPath, "{pid}", strconv.Itoa(p.PID), 1)
			err := getJSON(ctx, fmt.Sprintf("%s%s?rows=%d&windows=%d", exporterURL, at, api.MaxRows, api.MaxWindows), &h)
			return h, err
		}
	}
	return h, fmt.Errorf("%s is not listed", comm)
}
