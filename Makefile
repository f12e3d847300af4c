# caplaunch: what can be made. Only Go and make are needed for build, test and demo.

GO      ?= go
GOOS    := $(shell $(GO) env GOOS)
GOARCH  := $(shell $(GO) env GOARCH)
BIN     := bin/caplaunch$(if $(filter windows,$(GOOS)),.exe)

# Our own ELF entry, where there is one: it records what the kernel handed over
# before the Go runtime changes it (internal/origin).
ENTRY   := $(if $(filter linux/amd64 linux/arm64,$(GOOS)/$(GOARCH)),-E _caplaunch_entry)

# The same bytes from every clone of a commit: no paths, no build id. -w drops
# DWARF; -s would also drop what govulncheck -mode=binary reads. Functions begin at
# multiples of 16 on amd64 too, which makes the file 55 kB smaller than those of 32.
LDFLAGS := -w -buildid= -funcalign=16 $(ENTRY)

.PHONY: help build test test-kubernetes oracle oracle-vm faults mutants bench docs demo format lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/caplaunch, static; GOOS= and GOARCH= make it for another machine
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/caplaunch

.PHONY: FORCE # go knows better than a date whether a program is up to date
bin/%: examples/%/main.go FORCE ## bin/relay
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-w -buildid=' -o $@ ./examples/$*

# -count=1: Go would take an old result where only the binary under test has changed,
# which is built from another module. A run without a single test counts as failed.
TESTFLAGS := -json -count=1 -shuffle=on -timeout=30m

test: build ## all tests of both modules; what cannot run here is skipped, with its reason at the end
	@cd test/integration && TEST_BIN=$(CURDIR)/$(BIN) $(GO) tool gotestsum --format-hide-empty-pkg --post-run-command 'sh -c "test $$TESTS_TOTAL -gt 0"' \
		--raw-command -- sh -c 'cd ../.. && "$$@" ./...; root=$$?; cd test/integration && "$$@" ./... && exit $$root' sh $(GO) test $(TESTFLAGS)

test-kubernetes: ## pods on a node that it builds (20 minutes the first time) and starts
	@cd test/kubernetes && $(GO) tool gotestsum -- -count=1 -shuffle=on -parallel=8 -timeout=20m . -args $(ARGS)

N ?= 100000

oracle: ## N random sequences on the model and on this kernel, by each way to make the calls; the proof by exhaustion
	@cd test/integration && $(GO) test -count=1 -v -timeout 6h -run Agrees ./oracle -args -n=$(N) -doors=$(N)
	@$(GO) test -count=1 -v -timeout 6h -run TrueRefusal ./internal/ambient -args -all

oracle-vm: ## the same sequences, fewer of them, on Debian's cloud kernel under qemu
	@cd test/integration && ORACLE_VM=1 $(GO) test -count=1 -v -timeout 1h -run Debians ./oracle

faults: build ## every fault and lie in every system call of a launch, one at a time
	@cd test/integration && $(GO) test -count=1 -v -timeout 3h -run 'NoSystemCall|NoCallThat' ./faults -args -all

mutants: ## caplaunch broken in each of some 2,700 places, one at a time, each of which a test has to find
	@cd test/integration && $(GO) test -count=1 -v -timeout 12h ./mutants -args -all

bench: build ## what a launch costs, beside launchers in C, setpriv and gosu; BENCH=-update writes it into docs
	@$(GO) run ./test/bench $(BENCH)

docs: build ## writes into the pages what their commands print, and records the terminal
	@cd test/integration && TEST_BIN=$(CURDIR)/$(BIN) $(GO) test -count=1 -timeout 30m ./docs -args -update

demo: build ## a server on a privileged port, failing without caplaunch and working with it
	@$(GO) run ./examples/demo

# A tool that is pinned in packaging/go.mod.
TOOL = $(GO) -C packaging tool

HOUSE = ../cmd ../internal ../test ../examples ../packaging

format: ## gofumpt
	@$(TOOL) gofumpt -w $(HOUSE)

lint: ## what keeps the house: formatting, vet, staticcheck, go.mod, shell scripts, workflows, man page, spelling
	@files=$$($(TOOL) gofumpt -l $(HOUSE)); test -z "$$files" || { echo "not as gofumpt has it:" $$files; exit 1; }
	@set -e; staticcheck=$$($(TOOL) -n staticcheck); for m in . test/integration test/kubernetes packaging; do \
		echo "lint: module $$m"; (cd $$m; $(GO) vet ./...; $$staticcheck ./...; $(GO) mod tidy -diff); \
	done
	@$$($(TOOL) -n actionlint) -no-color .github/workflows/*.yml
	@! grep -n ' uses: ' .github/workflows/*.yml | grep -vE '@[0-9a-f]{40} # v[0-9.]+$$' || { echo "an action that is no full commit with its version"; exit 1; }
	@set -e; for tool in "shellcheck .ci/run $$(git ls-files '*.sh' | tr '\n' ' ')" "mandoc -T lint -W warning packaging/caplaunch.1" \
		"codespell --ignore-words-list=nd,inh $$(git ls-files '*.md' .github packaging/*.1 packaging/*.mk packaging/*/*.go docs examples | tr '\n' ' ')"; do \
		if command -v $${tool%% *} >/dev/null; then $$tool; else echo "lint: skipped, not installed here: $${tool%% *}"; test "$$TEST_REQUIRE" != 1; fi; \
	done

clean: ## what was built; the caches of the tests stay in .cache
	rm -rf bin dist

include packaging/release.mk
