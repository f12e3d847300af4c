# caplaunch: what can be made. Only Go and make are needed for build, test and demo.

GO      ?= go
BIN     := bin/caplaunch
GOARCH  := $(shell $(GO) env GOARCH)

# Our own ELF entry, where there is one: it records what the kernel handed over
# before the Go runtime changes it (internal/origin).
ENTRY   := $(if $(filter amd64 arm64,$(GOARCH)),-E _caplaunch_entry)

# The same bytes from every clone of a commit: no paths, no build id. -w drops
# DWARF; -s would also drop what govulncheck -mode=binary reads.
LDFLAGS := -w -buildid= $(ENTRY)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build test test-kubernetes oracle oracle-vm faults bench demo lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/caplaunch, static
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/caplaunch

# -count=1: Go would take an old result where only the binary under test has changed,
# which is built from another module. A run without a single test counts as failed.
TESTFLAGS := -json -count=1 -shuffle=on -timeout=30m

test: build ## all tests of both modules; what cannot run here is skipped, with its reason at the end
	@cd test/integration && TEST_BIN=$(CURDIR)/$(BIN) $(GO) tool gotestsum --format-hide-empty-pkg --post-run-command 'sh -c "test $$TESTS_TOTAL -gt 0"' \
		--raw-command -- sh -c 'cd ../.. && "$$@" ./...; root=$$?; cd test/integration && "$$@" ./... && exit $$root' sh $(GO) test $(TESTFLAGS)

test-kubernetes: ## pods on a node that it builds (20 minutes the first time) and starts
	@cd test/kubernetes && $(GO) tool gotestsum -- -count=1 -parallel=8 -timeout=20m . -args $(ARGS)

N ?= 100000

oracle: ## N random sequences on the model and on this kernel, by each way to make the calls; every mutant; the proof by exhaustion
	@cd test/integration && $(GO) test -count=1 -v -timeout 6h -run 'Agrees|Mutant' ./oracle -args -n=$(N) -doors=$(N) -all
	@$(GO) test -count=1 -v -timeout 6h -run TrueRefusal ./internal/ambient -args -all

oracle-vm: ## the same sequences, fewer of them, on Debian's cloud kernel under qemu
	@cd test/integration && ORACLE_VM=1 $(GO) test -count=1 -v -timeout 1h -run Debians ./oracle

faults: build ## every fault and lie in every system call of a launch, one at a time
	@cd test/integration && $(GO) test -count=1 -v -timeout 3h -run 'NoSystemCall|NoCallThat' ./faults -args -all

bench: build ## what a launch costs, beside launchers in C, setpriv and gosu; BENCH=-update writes it into docs
	@$(GO) run ./test/bench $(BENCH)

demo: build ## a server on a privileged port, failing without caplaunch and working with it
	@$(GO) run ./examples/demo

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l cmd internal test examples)" || { gofmt -d cmd internal test examples; exit 1; }
	@$(GO) vet ./...
	@cd test/integration && $(GO) vet ./...
	@cd test/kubernetes && $(GO) vet ./...
	@$(GO) run $(STATICCHECK) ./...
	@cd test/integration && $(GO) run $(STATICCHECK) ./...
	@cd test/kubernetes && $(GO) run $(STATICCHECK) ./...

clean: ## what was built; the caches of the tests stay in .cache
	rm -rf bin
