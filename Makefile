# make help lists the targets.
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
export CGO_ENABLED ?= 0
export PATH := $(shell bash test/lab/find-go.sh):$(PATH)

VERSION ?= $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null || echo v0.0.0-dev.$$(git rev-list --count HEAD 2>/dev/null || echo 0))
ARCHES  ?= $(or $(GOARCH),amd64 arm64)
ARCH    := $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))
LDFLAGS := -s -w -X github.com/pipeopshq/pipeops-agent/internal/version.version=$(VERSION)
TOOL    := go tool -modfile=tools/go.mod
SCRIPTS := $(shell git ls-files '*.sh' .ci/run packaging/scripts/'*' 2>/dev/null)
MODULES := . tools test/images test/k3s/cni test/bench/tunnel test/kubectl/oldest test/kubectl/newest

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## both programs, static, for this machine, in bin/
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: check
check: check-format check-modules lint shellcheck ## what a change must pass before its tests: format, modules, linters, scripts, architecture
	go vet ./...
	go vet -tags e2e ./test/...
	go test .

.PHONY: check-format
check-format:
	@unformatted=$$(git ls-files '*.go' | xargs -r gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi

.PHONY: check-modules
check-modules:
	@for m in $(MODULES); do if [ -e $$m/go.mod ]; then echo "go mod tidy -diff in $$m"; (cd $$m && go mod tidy -diff); fi; done

.PHONY: lint
lint: ## golangci-lint (with staticcheck in it) by .golangci.yml; builds it from tools/go.mod the first time
	$(TOOL) golangci-lint run ./...

.PHONY: shellcheck
shellcheck:
	shellcheck $(SCRIPTS)
	shellcheck internal/distro/*.initd

.PHONY: test
test: ## unit, integration and script tests with the race detector; no root needed
	CGO_ENABLED=1 go test -race -timeout 10m ./...
	cd test/bench/tunnel && CGO_ENABLED=1 go test -race ./echo ./figures ./link ./machine

.PHONY: soak-connect
soak-connect: ## 10 GB through user, gateway, tunnel and agent while everything is cut again and again: nothing passes for whole that is not
	go test ./internal/gateway -run TestConnectLoadWithCuts -connect-bytes 10000000000 -v -timeout 2h

.PHONY: soak-cancelled
soak-cancelled: ## 100,000 requests through user, gateway, tunnel and agent that are given up on their way: they leave nothing behind
	go test ./internal/gateway -run TestKubeCancelledRequestsLeaveNothing -cancelled-requests 100000 -v -timeout 1h

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (2m) each, two at once; PACKAGES narrows it
	test/fuzz/run.sh $(or $(FUZZTIME),2m) $(PACKAGES)

# E2E_REBOOTS=N reboots each machine N times and cuts its power as often, in place of once, and does so to k3d with several nodes too,
# which without it is left out: each time three API servers start at once on the cores of this machine.
.PHONY: e2e
e2e: dist-here sample ## the tests in lab machines; needs root; E2E_REBOOTS=10 before a release
	go test -tags e2e -count=1 -timeout 60m -parallel 2 ./test/e2e/...

.PHONY: e2e-kind
e2e-kind: dist-here sample kind ## the tests with a real kind, which make e2e leaves out; needs root
	E2E_KIND=1 go test -tags e2e -count=1 -timeout 30m -run 'Kind(Upgrade)?$$' ./test/e2e

.PHONY: e2e-kubectl
e2e-kubectl: dist-here sample ## three kubectls, each through the gateway and at the API server, which make e2e leaves out; needs root
	cd test/kubectl/oldest && go build -trimpath -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v1.20.15' -o ../../../bin/kubectl-oldest .
	cd test/kubectl/newest && go build -trimpath -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2' -o ../../../bin/kubectl-newest .
	E2E_KUBECTL=kubectl:bin/kubectl-oldest:bin/kubectl-newest go test -tags e2e -count=1 -timeout 30m -v -run 'Kubectls$$' ./test/e2e

.PHONY: bench-install
bench-install: dist-here sample ## time our install and first page against k3s's own install.sh and kubectl apply; needs root
	go run ./test/bench/install $(BENCH_FLAGS)

.PHONY: bench-look
bench-look: build ## time probe, plan of a captured machine, and the trials (as root)
	go run ./test/bench/look $(BENCH_FLAGS)

.PHONY: bench-tunnel
bench-tunnel: build-bench-tunnel ## our tunnel beside plain TCP and TLS, stock yamux, remotedialer, chisel and frp, on loopback
	bin/bench-tunnel $(BENCH_FLAGS)

.PHONY: bench-tunnel-wan
bench-tunnel-wan: build-bench-tunnel ## our tunnel beside stock yamux and separate connections, on a link of 50 ms and 100 Mbit/s; needs root
	bin/bench-tunnel -wan $(BENCH_FLAGS)

.PHONY: build-bench-tunnel
build-bench-tunnel:
	cd test/bench/tunnel && go build -trimpath -o ../../../bin/bench-tunnel .

.PHONY: demo
demo: ## from nothing to a deployed project, in a machine of the lab; needs root, sets up the rest itself
	@if [[ $$EUID != 0 ]]; then echo "make demo boots a machine in a container and needs root: sudo make demo" >&2; exit 1; fi
	bash test/lab/setup.sh
	$(MAKE) dist-here sample demo-run

.PHONY: demo-run
demo-run:
	go run ./test/lab/cmd/demo

.PHONY: demo-down
demo-down: ## remove what the demo left for looking around
	go run ./test/lab/cmd/demo -down

.PHONY: dist
dist: ## release folder dist/ for ARCHES (amd64 arm64): programs, .deb, .rpm, install.sh and a manifest that RELEASE_KEY signs (docs/releases.md)
	VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' packaging/dist.sh $(ARCHES)

.PHONY: dist-here
dist-here:
	$(MAKE) dist ARCHES=$(ARCH)

.PHONY: sample
sample: ## the sample project of the demo and the tests as an image, bin/sample-web.tar
	go build -trimpath -ldflags '-s -w' -o bin/web ./test/lab/web
	cd test/images && go run . -o ../../bin/sample-web.tar pipeops.local/sample-web:1=../../bin/web

.PHONY: k3s
k3s: ## build a k3s release from published Go modules (slow; kept in the cache) and print its folder
	@bash test/k3s/build.sh

.PHONY: k3d
k3d: ## build k3d and the image of its nodes from the k3s release in K3S_RELEASE_DIR (kept in the cache) and print their folder
	@bash test/k3d/build.sh

.PHONY: kind
kind: ## build kind and the image of its nodes from Go modules (an hour the first time; kept in the cache) and print their folder
	@bash test/kind/build.sh

.PHONY: clean
clean: ## remove what was built; caches outside the checkout stay
	rm -rf bin dist .cache
