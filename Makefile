# make help lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run demo screenshots build test test-unit test-dashboards test-vm fuzz bench bench-vm lint generate check-generated deps clean

export MGLRU_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mglru_exporter
export PATH := $(MGLRU_CACHE)/tools/go/bin:$(MGLRU_CACHE)/tools/bin:$(PATH)

# For go test, e.g. TESTFLAGS=-v; and what test-vm is to run: KERNEL/PACKAGE/TEST.
TESTFLAGS ?=
RUN ?=

VERSION = $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
V = github.com/prometheus/common/version
LDFLAGS = -s -w -X $V.Version=$(VERSION) \
	-X $V.Revision=$(shell git rev-parse HEAD 2>/dev/null) \
	-X $V.Branch=$(shell git symbolic-ref --short -q HEAD 2>/dev/null) \
	-X $V.BuildUser=$(or $(USER),$(shell id -un))@$(shell uname -n) \
	-X $V.BuildDate=$(shell git log -1 --format=%cd --date=format:%Y%m%d-%H:%M:%S 2>/dev/null)

SCRIPTS = scripts/deps scripts/check-deploy scripts/check-generated scripts/fuzz scripts/summary .ci/run \
	test/vm/kernel/build test/vm/kernel/fetch test/vm/init.sh test/vm/cmd/vmdemo/demo.sh

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: ## start the exporter on this machine, on 127.0.0.1:9934 (as root; needs Go only)
	@command -v go >/dev/null || { echo 'make run: there is no go; make deps installs it with all else (as root; Debian 12)' >&2; exit 1; }
	@$(MAKE) build
	@[ "$$(id -u)" = 0 ] || echo "make run: to watch all processes be root: sudo $(CURDIR)/bin/mglru_exporter --config.file=$(CURDIR)/config.example.yaml" >&2
	@exec bin/mglru_exporter --config.file=config.example.yaml --web.listen-address=127.0.0.1:9934

demo: deps build ## boot a guest with the exporter and a workload, on 127.0.0.1:9934, and Prometheus, on :9090
	@go build -o bin/vmdemo ./test/vm/cmd/vmdemo # go run fails where it is interrupted
	@exec bin/vmdemo -exporter bin/mglru_exporter

screenshots: deps build ## take the pictures in docs/img from the demo's memcached: five minutes
	@go run ./test/vm/cmd/vmdemo -exporter bin/mglru_exporter -screenshots docs/img

build: ## build bin/mglru_exporter, statically
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/mglru_exporter ./cmd/mglru_exporter

test: deps lint check-generated test-unit test-dashboards fuzz test-vm ## everything: lint, generated files, unit tests, dashboards, fuzzing, guest tests

test-unit: ## unit tests with the race detector
	@echo '== unit tests (those in the guest: make test-vm)'
	@go test -race $(TESTFLAGS) ./...

test-dashboards: deps ## every query of dashboards, rules and alerts, with a real Prometheus
	@echo '== dashboards'
	@cd dashboards/test && go mod tidy -diff && go vet ./... && go test -count 1 $(TESTFLAGS) ./...

fuzz: ## fuzz each parser for FUZZTIME=3s, beginning with its seeds
	@echo '== fuzzing'
	@scripts/fuzz

test-vm: deps ## tests in a guest, on every kernel; RUN=patched/guest/TestWorkload for some
	@echo '== guest tests'
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestGuest$$$(if $(RUN),/$(RUN))' ./test/vm
	@$(if $(RUN),,go test -tags vm -v -count 1 -timeout 0 -run 'TestDemo$$' ./test/vm/cmd/vmdemo)

bench: ## benchmarks of the Go code
	@go test -run '^$$' -bench . -benchmem ./...

bench-vm: deps ## cost of watching, in a guest that counts instructions, on the plain, the patched and Debian's kernel
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestBench$$$(if $(RUN),/$(RUN))' ./test/vm

lint: ## gofmt, go vet, go mod tidy, golangci-lint, shellcheck, deploy/
	@echo '== lint'
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt -w $$files"; exit 1; }
	@go vet -tags vm,guest ./...
	@go mod tidy -diff
	@golangci-lint run ./...
	@shellcheck $(SCRIPTS)
	@scripts/check-deploy

generate: ## make the BPF objects and all other generated files anew
	@go generate ./...

check-generated: ## fail if generate changes anything
	@echo '== generated files'
	@scripts/check-generated

deps: ## install what is missing (as root; Debian 12)
	@scripts/deps

clean: ## remove what was built; caches stay, in $MGLRU_CACHE or ~/.cache/mglru_exporter
	@rm -rf bin
