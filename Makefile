# raftkv. `make` lists the targets; `make demo` and `make test` need nothing but Go, make and (for Kubernetes) root on Linux.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# One place names the version of the programs, their images and the chart.
VERSION := $(shell sed -n 's/^appVersion: *"\(.*\)"/\1/p' charts/raftkv/Chart.yaml)
ARCH ?= $(shell go env GOARCH)
GO_LDFLAGS := -X main.version=$(VERSION)

# For `make push`: where the images go. Docker Hub has no nested names, so there give the two repositories too.
REGISTRY ?=
NODE_REPOSITORY ?= raftkv/node
OPERATOR_REPOSITORY ?= raftkv/operator

# A KUBECONFIG on make's command line means a cluster of one's own; one in the environment is nobody's wish for a demo there.
DEMO := VERSION=$(VERSION) REGISTRY='$(REGISTRY)' DEMO_KUBECONFIG=$(if $(findstring command line,$(origin KUBECONFIG)),$(abspath $(KUBECONFIG))) hack/demo.sh

GOLANGCI_LINT := build/tools/golangci-lint
# The modules with code of ours, each with dependencies of its own. test/localkube/build only names Kubernetes' programs,
# and to analyse it would be to analyse Kubernetes.
MODULES := . hack/images test/localkube test/bench test/powerloss test/rules test/etcdclients test/etcdsuite

##@ Try it

.PHONY: demo
demo: ## A 3-node Kubernetes on this machine with a store on it. On your own cluster: make demo KUBECONFIG=...
	@$(DEMO) up

.PHONY: demo-down
demo-down: ## Remove everything that `make demo` made
	@$(DEMO) down

##@ Build

.PHONY: build
build: ## Compile the programs into build/bin
	CGO_ENABLED=0 go build -trimpath -ldflags "$(GO_LDFLAGS)" -o build/bin/raftkv-node ./cmd/node
	CGO_ENABLED=0 go build -trimpath -ldflags "$(GO_LDFLAGS)" -o build/bin/raftkv-operator ./cmd/operator
	CGO_ENABLED=0 go build -trimpath -ldflags "$(GO_LDFLAGS)" -o build/bin/raftctl ./cmd/raftctl
	ln -sf raftctl build/bin/kubectl-raftkv

.PHONY: raftctl
raftctl: ## Compile build/raftctl, and build/kubectl-raftkv for `kubectl raftkv`
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $(GO_LDFLAGS)" -o build/raftctl ./cmd/raftctl
	ln -sf raftctl build/kubectl-raftkv

.PHONY: images
images: ## Write build/images/node.tar and operator.tar; needs no container engine
	@go build -C hack/images -o ../../build/tools/images .
	@build/tools/images build --version $(VERSION) --arch $(ARCH) --out build/images

.PHONY: push
push: ## Build for amd64 and arm64 and push: make push REGISTRY=ghcr.io/me
	@[[ -n "$(REGISTRY)" ]] || { echo "Name the registry: make push REGISTRY=ghcr.io/me" >&2; exit 2; }
	@go build -C hack/images -o ../../build/tools/images .
	@build/tools/images push --version $(VERSION) --registry '$(REGISTRY)' \
	  --node-repository $(NODE_REPOSITORY) --operator-repository $(OPERATOR_REPOSITORY)

.PHONY: localkube
localkube: ## Compile build/localkube, which runs a real Kubernetes on this machine
	@go build -C test/localkube -o ../../build/localkube .

.PHONY: generate
generate: ## Write all generated files anew: deepcopy, CRDs, RBAC, the chart's copies of them, and the reference of raftctl
	@hack/generate.sh
	@hack/chart.sh

.PHONY: clean
clean: ## Remove what was built here
	rm -rf build

##@ Check

.PHONY: test
test: test-unit test-sim test-e2e ## All tests: units, the simulation campaign, one end-to-end pass on a real Kubernetes

.PHONY: test-unit
test-unit: ## The tests of every module that need no cluster
	@hack/test.sh unit

.PHONY: test-sim
test-sim: ## The simulation: 1,000 seeds under faults, and the bugs that it must catch
	@hack/test.sh sim

.PHONY: test-e2e
test-e2e: ## One end-to-end pass on a Kubernetes of its own (root on Linux)
	@VERSION=$(VERSION) hack/e2e.sh

.PHONY: test-operations
test-operations: ## The long end-to-end scenarios: 25 minutes on five nodes, figures in build/e2e-report.md (RUN=TestOperations/ten_rolls)
	@VERSION=$(VERSION) RUN='$(RUN)' hack/e2e.sh operations

.PHONY: test-etcd-suite
test-etcd-suite: ## etcd's own end-to-end tests, with raftkv-node in the place of etcd: docs/ETCD-COMPATIBILITY.md (SUITE=common, RUN=TestWatch)
	@go run -C test/etcdsuite . -suite '$(SUITE)' -run '$(RUN)'

.PHONY: race
race: ## The unit tests under the race detector
	@hack/test.sh race

.PHONY: vet
vet: ## go vet, in every module
	@for module in $(MODULES); do echo "vet $$module"; go vet -C $$module ./...; done
	@echo "vet . with the end-to-end tests and that of scale"; go vet -tags e2e,scale ./test/...

.PHONY: lint
lint: $(GOLANGCI_LINT) ## golangci-lint, in every module
	@failed=0; for module in $(MODULES); do \
	  echo "lint $$module"; \
	  (cd $$module && $(CURDIR)/$(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...) || failed=1; \
	done; exit $$failed

$(GOLANGCI_LINT): hack/tools/go.mod
	@echo "building golangci-lint (about two minutes the first time)"
	@go build -C hack/tools -o $(CURDIR)/$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: drift
drift: ## Fail when a generated file is not what `make generate` writes
	@hack/drift.sh

##@ Measure and hunt

.PHONY: bench
bench: ## The core beside etcd's, and the whole store beside etcd (BENCH="-rounds 5"): docs/BENCHMARKS.md
	@go test -C test/bench -run '^$$' -bench . ./core
	@mkdir -p build/bench
	@CGO_ENABLED=0 go build -trimpath -o build/bench/raftkv-node ./cmd/node
	@CGO_ENABLED=0 go build -C test/bench/etcd -trimpath -o $(CURDIR)/build/bench/etcd go.etcd.io/etcd/server/v3
	@CGO_ENABLED=0 go build -C test/etcdclients -trimpath -o $(CURDIR)/build/bench/benchmark go.etcd.io/etcd/v3/tools/benchmark
	@go build -C test/bench -o $(CURDIR)/build/bench/compare .
	@build/bench/compare $(BENCH)

.PHONY: bench-layer
bench-layer: ## The consensus layer beside hashicorp/raft and dragonboat, three processes each (LAYER="-rounds 5")
	@mkdir -p build/bench
	@go build -C test/bench -o $(CURDIR)/build/bench/layer ./layer
	@build/bench/layer -dir build/bench $(LAYER)

.PHONY: bench-wal
bench-wal: ## The write-ahead log beside a bare file, raft-wal and raft-boltdb (WAL="-duration 30s")
	@mkdir -p build/bench
	@go build -C test/bench -o $(CURDIR)/build/bench/wal ./wal
	@build/bench/wal -dir build/bench $(WAL)

.PHONY: scale
scale: localkube ## The operator with many RaftClusters whose pods are played (CLUSTERS=1000): docs/SCALE.md
	@KUBEBUILDER_ASSETS=$$(build/localkube build) go test ./test/scale -tags scale -count=1 -v -timeout 3h -args \
	  -scale.clusters=$(or $(CLUSTERS),1000) -scale.rest=2m -scale.dir=$(CURDIR)/build/scale

.PHONY: sim
sim: ## A simulation campaign of new seeds (CPU=1h of all processors together, or SEEDS=20000); replay one with make sim SEED=...
	@SEED="$(SEED)" SEEDS="$(SEEDS)" CPU="$(CPU)" hack/test.sh hunt

.PHONY: sim-mutants
sim-mutants: ## Put known bugs into the code, one at a time: the simulation must catch each (ONLY=name)
	@SEEDS="$(SEEDS)" ONLY="$(ONLY)" hack/test.sh mutants

.PHONY: plan-mutants
plan-mutants: ## The same of the operator's decider and its simulation (ONLY=name)
	@SEEDS="$(SEEDS)" ONLY="$(ONLY)" hack/test.sh plan-mutants

.PHONY: soak
soak: ## Hours of simulation, chaos and repeated end-to-end passes (ROUNDS=10)
	@VERSION=$(VERSION) SEEDS="$(SEEDS)" ROUNDS="$(ROUNDS)" hack/test.sh soak

.PHONY: help
help:
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
