# caplaunch: what can be made. Only Go and make are needed for build, test and demo.

GO      ?= go
BIN     := bin/caplaunch
GOARCH  := $(shell $(GO) env GOARCH)

# Our own ELF entry, where there is one: it records what the kernel handed over
# before the Go runtime changes it (internal/origin).
ENTRY   := $(if $(filter amd64 arm64 386 arm riscv64,$(GOARCH)),-E _caplaunch_entry)

# The same bytes from every clone of a commit: no paths, no build id. -w drops
# DWARF; -s would also drop what govulncheck -mode=binary reads.
LDFLAGS := -w -buildid= $(ENTRY)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build test demo lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/caplaunch, static
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/caplaunch

test: build ## all tests; what cannot run here is skipped, with its reason at the end
	@$(GO) build -C test/integration -o ../../.cache/testrun ./cmd/testrun
	@.cache/testrun . ./... -- test/integration -timeout 30m ./...

demo: build ## a server on a privileged port, failing without caplaunch and working with it
	@$(GO) run ./examples/demo

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l cmd internal test examples)" || { gofmt -d cmd internal test examples; exit 1; }
	@$(GO) vet ./...
	@cd test/integration && $(GO) vet ./...
	@$(GO) run $(STATICCHECK) ./...
	@cd test/integration && $(GO) run $(STATICCHECK) ./...

clean: ## what was built; the caches of the tests stay in .cache
	rm -rf bin
