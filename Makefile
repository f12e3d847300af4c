# caplaunch: what can be made. Only Go and make are needed for build, test and demo.

GO      ?= go
GOOS    := $(shell $(GO) env GOOS)
GOARCH  := $(shell $(GO) env GOARCH)
BIN     := bin/caplaunch$(if $(filter windows,$(GOOS)),.exe)

# Our own ELF entry, where there is one: it records what the kernel handed over
# before the Go runtime changes it (internal/origin).
ENTRY   := $(if $(filter linux/amd64 linux/arm64,$(GOOS)/$(GOARCH)),-E _caplaunch_entry)

# The same bytes from every clone of a commit: no paths, no build id. -w drops
# DWARF; -s would also drop what govulncheck -mode=binary reads.
LDFLAGS := -w -buildid= $(ENTRY)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What is released, in names of Go; arm has its GOARM behind a v.
PLATFORMS := amd64 arm64 armv6 armv7 386 ppc64le riscv64 s390x loong64
OTHERS    := darwin/arm64 windows/amd64 freebsd/amd64

.PHONY: help build release repro scan push others test oracle oracle-vm faults bench demo lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/caplaunch, static; GOOS= and GOARCH= make it for another machine
	@CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/caplaunch

bin/%: examples/%/main.go ## bin/relay
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-w -buildid=' -o $@ ./examples/$*

# What a builder has set for another purpose must not get into a release.
PLAIN := GOOS=linux GOFLAGS= GOEXPERIMENT= GO386= GOAMD64= GOARM64= GOPPC64= GORISCV64=

release: ## dist: everything that is published, for every platform; the version is the tag's
	@rm -rf dist
	@set -e; for p in $(PLATFORMS); do \
		$(PLAIN) GOARCH=$${p%v[67]} GOARM=$$(expr $$p : 'armv\(.\)') $(MAKE) --no-print-directory build BIN=dist/bin/linux-$$p/caplaunch; \
	done
	@$(GO) run -C packaging ./release

repro: ## the release twice, by two users in two places at two dates, and compares all bytes
	@packaging/repro.sh

VULNDB := .cache/vulndb

scan: ## govulncheck on the source and on every binary of dist, by the database in packaging/go.mod; writes the VEX
	@rm -rf $(VULNDB)
	@$(GO) -C packaging tool indexdb -vulns $$($(GO) -C packaging list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv -out ../$(VULNDB)
	@$(GO) -C packaging tool govulncheck -db file://$(CURDIR)/$(VULNDB) -C .. ./cmd/...
	@set -e; for b in dist/bin/*/caplaunch; do \
		echo "$$b:"; $(GO) -C packaging tool govulncheck -db file://$(CURDIR)/$(VULNDB) -mode binary ../$$b; \
	done
	@$(GO) -C packaging tool govulncheck -db file://$(CURDIR)/$(VULNDB) -mode binary -format openvex ../dist/bin/linux-amd64/caplaunch | \
		$(GO) run -C packaging ./vex -db ../$(VULNDB)

push: ## the image of dist to IMAGE, such as registry.example/caplaunch:v0.1.0
	@$(GO) -C packaging tool crane push ../dist/image $(IMAGE)

others: ## the systems on which caplaunch only explains: that it builds for them
	@set -e; for p in $(OTHERS); do \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(MAKE) --no-print-directory build BIN=.cache/others/$$p; \
	done

# -count=1: Go would take an old result where only the binary under test has changed,
# which is built from another module. A run without a single test counts as failed.
TESTFLAGS := -json -count=1 -shuffle=on -timeout=30m

test: build ## all tests of both modules; what cannot run here is skipped, with its reason at the end
	@cd test/integration && TEST_BIN=$(CURDIR)/$(BIN) $(GO) tool gotestsum --format-hide-empty-pkg --post-run-command 'sh -c "test $$TESTS_TOTAL -gt 0"' \
		--raw-command -- sh -c 'cd ../.. && "$$@" ./...; root=$$?; cd test/integration && "$$@" ./... && exit $$root' sh $(GO) test $(TESTFLAGS)

N ?= 100000

oracle: ## N random sequences on the model and on this kernel, compared; and every mutant of the model
	@cd test/integration && $(GO) test -count=1 -v -timeout 3h -run 'Agrees|Mutant' ./oracle -args -n=$(N) -all

oracle-vm: ## the same sequences, fewer of them, on Debian's cloud kernel under qemu
	@cd test/integration && ORACLE_VM=1 $(GO) test -count=1 -v -timeout 1h -run Debians ./oracle

faults: build ## every fault and lie in every system call of a launch, one at a time
	@cd test/integration && $(GO) test -count=1 -v -timeout 3h -run 'NoSystemCall|NoCallThat' ./faults -args -all

bench: build ## what a launch costs, as ratios to the same launch in C, beside setpriv and gosu
	@$(GO) test -run '^$$' -bench . -benchtime 300x ./test/bench

demo: build ## a server on a privileged port, failing without caplaunch and working with it
	@$(GO) run ./examples/demo

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l cmd internal test examples)" || { gofmt -d cmd internal test examples; exit 1; }
	@$(GO) vet ./...
	@cd test/integration && $(GO) vet ./...
	@$(GO) run $(STATICCHECK) ./...
	@cd test/integration && $(GO) run $(STATICCHECK) ./...

clean: ## what was built; the caches of the tests stay in .cache
	rm -rf bin dist
