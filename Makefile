# make help lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run demo screenshots build build-arches test test-rest test-all check test-unit test-race test-dashboards test-vm test-vm-core test-vm-rest \
	test-distro test-demo fuzz bench bench-vm bench-harm kernels lint generate check-generated deps deps-test clean

export MGLRU_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mglru_exporter
export PATH := $(MGLRU_CACHE)/tools/go/bin:$(MGLRU_CACHE)/tools/bin:$(PATH)

# What can be given, as in make run LISTEN=:9934. The first two are for run.
LISTEN ?= 127.0.0.1:9934
CONFIG ?= config.example.yaml
# For go test, e.g. TESTFLAGS=-v; and what test-vm is to run: KERNEL/PACKAGE/TEST.
TESTFLAGS ?=
RUN ?=
# How long to fuzz each target, e.g. 1m or 20000x; empty is as scripts/fuzz has it.
export FUZZTIME ?=
# What deps is to install, see scripts/deps; empty is all.
NEEDS ?=

# PORT is short for LISTEN. Whatever else is given would have no effect, and whoever
# gave it would not know.
ifeq ($(origin PORT),command line)
LISTEN := 127.0.0.1:$(PORT)
endif
GIVEN = LISTEN PORT CONFIG TESTFLAGS RUN FUZZTIME NEEDS VERSION MGLRU_% GO% CGO_% CC
UNKNOWN := $(filter-out $(GIVEN),$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v)))
ifneq ($(UNKNOWN),)
$(error there is no variable $(firstword $(UNKNOWN)); make run has LISTEN=ADDRESS:PORT and CONFIG=FILE, other targets have TESTFLAGS, RUN, FUZZTIME and NEEDS)
endif

VERSION = $(or $(shell git describe --tags --always --dirty 2>/dev/null),unknown)
V = github.com/prometheus/common/version
LDFLAGS = -s -w -X $V.Version=$(VERSION) \
	-X $V.Revision=$(shell git rev-parse HEAD 2>/dev/null) \
	-X $V.Branch=$(shell git symbolic-ref --short -q HEAD 2>/dev/null) \
	-X $V.BuildUser=$(or $(USER),$(shell id -un))@$(shell uname -n) \
	-X $V.BuildDate=$(shell git log -1 --format=%cd --date=format:%Y%m%d-%H:%M:%S 2>/dev/null)

SCRIPTS = $(filter-out %.go,$(wildcard scripts/* .ci/run)) test/distro/rootfs test/vm/kernel/build test/vm/kernel/fetch test/vm/init.sh test/vm/system.sh \
	test/vm/cmd/vmdemo/demo.sh

# The parts of test and what test-all has beyond them, in their order. Each is a
# target of its own; all run, whatever becomes of those before.
TEST_PARTS = deps-test check test-unit test-dashboards fuzz check-generated kernels test-vm-core
REST_PARTS = deps lint build-arches test-race test-vm-rest test-distro test-demo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: ## start the exporter on this machine, on LISTEN=127.0.0.1:9934 with CONFIG=config.example.yaml (as root; fetches Go, no more)
	@scripts/deps go
	@$(MAKE) build
	@[ "$$(id -u)" = 0 ] || echo "make run: to watch all processes be root: sudo $(CURDIR)/bin/mglru_exporter --config.file=$(abspath $(CONFIG)) --web.listen-address=$(LISTEN)" >&2
	@exec bin/mglru_exporter --config.file='$(CONFIG)' --web.listen-address='$(LISTEN)'

demo: ## boot a guest with the exporter and a workload, on 127.0.0.1:9934, and Prometheus, on :9090
	@scripts/deps go kernel guest prometheus memcached
	@$(MAKE) build
	@go build -o bin/vmdemo ./test/vm/cmd/vmdemo # go run fails where it is interrupted
	@exec bin/vmdemo -exporter bin/mglru_exporter

screenshots: ## take the pictures in docs/img from the demo's memcached: five minutes
	@scripts/deps go kernel guest page prometheus memcached
	@$(MAKE) build
	@go run ./test/vm/cmd/vmdemo -exporter bin/mglru_exporter -screenshots docs/img

build: ## build bin/mglru_exporter, statically
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/mglru_exporter ./cmd/mglru_exporter

build-arches: ## build it for each architecture that the source referenced works on
	@for arch in amd64 arm64 s390x ppc64le riscv64; do CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go vet ./...; CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build ./...; done

test: ## what a change has to pass: 8 minutes on two idle cores, 20 where kernels are to be built
	@scripts/parts $(TEST_PARTS)

test-all: ## all tests: test, golangci-lint, every test on every kernel, the demo
	@scripts/parts $(TEST_PARTS) $(REST_PARTS)

test-rest: ## what test-all has beyond test
	@scripts/parts $(REST_PARTS)

check: ## gofmt, go vet, go mod tidy
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "gofmt -w $$files"; exit 1; }
	@go vet -tags vm,guest ./...
	@go mod tidy -diff

# The race detector finds nothing in what has no goroutines, or is a page in a
# browser, and takes minutes for it: that is left to test-race.
NO_RACE = ./internal/heat ./internal/web/ui
GOTEST = go test -timeout 30m $(TESTFLAGS)

test-unit: ## unit tests, most of them with the race detector, and the heatmap page in a browser
	@status=0; $(GOTEST) -race $$(go list ./... | grep -vxE "$$(go list $(NO_RACE) | paste -sd '|')") || status=1; \
	$(GOTEST) $(NO_RACE) || status=1; exit $$status

# With -short the model test of the tracker has a tenth of its histories: all of them
# take the race detector ten minutes.
test-race: ## the race detector on the unit tests that test-unit runs without
	@$(GOTEST) -race -short $(NO_RACE)

test-dashboards: ## every query of dashboards, rules and alerts, with a real Prometheus
	@scripts/deps go prometheus
	@cd dashboards/test && go mod tidy -diff && go vet ./... && $(GOTEST) -count 1 ./...

fuzz: ## fuzz each parser, beginning with its seeds; FUZZTIME=1m for longer
	@scripts/fuzz

kernels: ## build or fetch the kernels of test-vm-core
	@scripts/deps go kernel
	@MGLRU_TESTS=core go test -tags vm -v -count 1 -timeout 0 -run '^TestKernels$$' ./test/vm

test-vm: ## tests in a guest, on every kernel; RUN=patched/guest/TestWorkload for some
	@scripts/deps go kernel guest
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestGuest$$$(if $(RUN),/$(RUN))' ./test/vm

test-vm-core: ## the guest tests of test, see test/vm/suites.go
	@MGLRU_TESTS=core $(MAKE) test-vm

test-vm-rest: ## the guest tests that test leaves out
	@MGLRU_TESTS=rest $(MAKE) test-vm

test-distro: ## the unit as docs/DEPLOYMENT.md installs it, on Debian 12 and 13 in guests; RUN=debian-13 for one
	@scripts/deps go guest distro
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestDistro$$$(if $(RUN),/$(RUN))' ./test/vm

test-demo: ## make demo, until all it shows is there
	@scripts/deps go kernel guest prometheus memcached
	@go test -tags vm -v -count 1 -timeout 0 -run 'TestDemo$$' ./test/vm/cmd/vmdemo

bench: ## benchmarks of the Go code
	@go test -run '^$$' -bench . -benchmem ./...

bench-vm: ## cost of watching, in a guest that counts instructions, on the plain, the patched and Debian's kernel
	@scripts/deps go kernel guest
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestBench$$$(if $(RUN),/$(RUN))' ./test/vm

bench-harm: ## what watching does to a process under load, in such a guest; RUN=TestHarm/reader for some
	@scripts/deps go kernel guest memcached
	@go test -tags vm -v -count 1 -timeout 0 -run '^TestHarm$$$(if $(RUN),/$(RUN))' ./test/vm

lint: ## golangci-lint, shellcheck, deploy/
	@scripts/deps go lint
	@golangci-lint run ./...
	@shellcheck $(SCRIPTS)
	@scripts/check-deploy

generate: ## make the BPF objects and all other generated files anew
	@go generate ./...

check-generated: ## fail if generate changes anything
	@scripts/check-generated

deps: ## install what is missing, all of it or NEEDS='go cgo' (as root; Debian 12)
	@scripts/deps $(NEEDS)

deps-test: ## install what test needs
	@scripts/deps go cgo bpf kernel guest page prometheus

clean: ## remove what was built; caches stay, in $MGLRU_CACHE or ~/.cache/mglru_exporter
	@rm -rf bin
