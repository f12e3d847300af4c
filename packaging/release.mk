# From the binaries to a release. RELEASING.md says when each target is used.

# What is released, in names of Go; arm has its GOARM behind a v.
PLATFORMS := amd64 arm64 armv6 armv7 386 ppc64le riscv64 s390x loong64
OTHERS    := darwin/arm64 windows/amd64 freebsd/amd64

VULNDB := .cache/vulndb
# What a builder has set for another purpose must not get into a release.
PLAIN := GOOS=linux GOFLAGS= GOEXPERIMENT= GO386= GOAMD64= GOARM64= GOPPC64= GORISCV64=

.PHONY: release others repro scan login push digest sign verify publish download update-vulndb update tag-patch start-release

release: ## dist: everything that is published, for every platform; the version is the tag's
	@rm -rf dist
	@set -e; for p in $(PLATFORMS); do \
		$(PLAIN) GOARCH=$${p%v[67]} GOARM=$$(expr $$p : 'armv\(.\)') $(MAKE) --no-print-directory build BIN=dist/bin/linux-$$p/caplaunch; \
	done
	@$(GO) run -C packaging ./release

others: ## the systems on which caplaunch only explains: that it builds for them
	@set -e; for p in $(OTHERS); do \
		GOOS=$${p%/*} GOARCH=$${p#*/} $(MAKE) --no-print-directory build BIN=.cache/others/$$p; \
	done

repro: ## the release twice, by two users in two places at two dates, and compares all bytes
	@packaging/repro.sh

scan: ## govulncheck on the source and on every binary of dist, by the database in packaging/go.mod; writes the VEX
	@rm -rf $(VULNDB)
	@$(TOOL) indexdb -vulns $$($(GO) -C packaging list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv -out ../$(VULNDB)
	@$(TOOL) govulncheck -db file://$(CURDIR)/$(VULNDB) -C .. ./cmd/...
	@set -e; for b in dist/bin/*/caplaunch; do \
		echo "$$b:"; $(TOOL) govulncheck -db file://$(CURDIR)/$(VULNDB) -mode binary ../$$b; \
	done
	@$(TOOL) govulncheck -db file://$(CURDIR)/$(VULNDB) -mode binary -format openvex ../dist/bin/linux-amd64/caplaunch | \
		$(GO) run -C packaging ./vex -db ../$(VULNDB)

# The rest speaks to a registry or to GitHub: IMAGE is a name such as registry.example/caplaunch:v0.1.0.

login: ## to REGISTRY as REGISTRY_USER, with the password in $GH_TOKEN
	@printf %s "$$GH_TOKEN" | $(TOOL) crane auth login $(REGISTRY) -u $(REGISTRY_USER) --password-stdin

push: ## the image of dist to IMAGE
	@$(TOOL) crane push ../dist/image $(IMAGE)

digest: ## of IMAGE, as digest=sha256:...
	@echo "digest=$$($(TOOL) crane digest $(IMAGE))"

sign: ## the checksums and the image, with the identity of the workflow that runs this
	cosign sign-blob --yes --bundle dist/SHA256SUMS.sigstore.json dist/SHA256SUMS
	cosign sign --yes $(IMAGE)@$$($(TOOL) crane digest $(IMAGE))

SIGNER = --certificate-identity=$(IDENTITY) --certificate-oidc-issuer=https://token.actions.githubusercontent.com

verify: ## what sign and the attestations have to say, as a user would
	cd dist && sha256sum --check --quiet SHA256SUMS
	cosign verify-blob --bundle dist/SHA256SUMS.sigstore.json $(SIGNER) dist/SHA256SUMS
	cosign verify $(SIGNER) $(IMAGE)@$$($(TOOL) crane digest $(IMAGE))
	@set -e; for f in $$(cut -c67- dist/SHA256SUMS); do gh attestation verify dist/$$f --repo $(GITHUB_REPOSITORY); done
	gh attestation verify oci://$(IMAGE) --repo $(GITHUB_REPOSITORY)

publish: ## the release of this tag
	gh release create $(GITHUB_REF_NAME) --verify-tag --title $(GITHUB_REF_NAME) --notes-file CHANGELOG.md $$(find dist -maxdepth 1 -type f)

download: ## dist/bin from the newest release
	rm -rf dist
	gh release download --dir dist --pattern '*_linux_*.tar.gz'
	@set -e; for a in dist/*.tar.gz; do \
		b=dist/bin/linux-$$(expr $$a : '.*_linux_\(.*\).tar.gz'); mkdir -p $$b; tar -C $$b -xf $$a --strip-components=1 --wildcards '*/caplaunch'; \
	done

update-vulndb: ## take the newest vulnerability database
	@$(GO) -C packaging get golang.org/x/vulndb@upgrade

update: update-vulndb ## take the newest patch of every module and this Go, and commit that; fails where there is none
	@$(GO) get -u=patch ./cmd/... && $(GO) mod tidy
	@set -e; for m in packaging test/integration; do (cd $$m; $(GO) mod edit -go=$$($(GO) env GOVERSION | tr -d go); $(GO) mod tidy); done
	@git -c user.name=caplaunch -c user.email=caplaunch@users.noreply.github.com commit -a -m "Update Go and the modules"

tag-patch: ## tag this commit as the next patch release, and push both
	@set -e; last=$$(git describe --tags --abbrev=0); next=$${last%.*}.$$(($${last##*.} + 1)); \
		git tag $$next; git push -q origin HEAD:main $$next; echo tag=$$next

start-release: ## the release workflow, on TAG
	gh workflow run release.yml --ref $(TAG)
