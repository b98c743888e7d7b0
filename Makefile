# What there is to do: `make help`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
DIST := $(or $(CARGO_TARGET_DIR),target)/dist
# Where rustup puts cargo; a shell that is older than that does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin
# Features are unified over the packages that a command selects. The package hyperfarm switches on the features that the rest
# of the workspace needs (cli/Cargo.toml; `make features-check`), so that it and the workspace share what is compiled. Other
# packages do not: `cargo build -p CRATE` compiles many dependencies again.
BINARY := --locked --package hyperfarm
WORKSPACE := --release --locked --workspace

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what is missing to build and render (Debian 12)
	@scripts/setup.sh

.PHONY: build
build: setup ## Build target/release/hyperfarm
	cargo build --release $(BINARY)

.PHONY: dist-binary
dist-binary: setup ## Build target/dist/hyperfarm, optimised for shipping, and its debug symbols
	cargo build --profile dist $(BINARY)

.PHONY: demo
demo: build ## Render an example to out/demo.mp4 and check it
	@HYPERFARM=$(RELEASE)/hyperfarm scripts/demo.sh

# Property tests draw the same cases in each run, so that a run fails for what changed. `make fuzz` draws others.
.PHONY: test
test: export PROPTEST_RNG_SEED ?= 1
test: ## Run every test, on RabbitMQ, Redis and S3 servers of its own
	@scripts/setup.sh --test
	cargo build $(WORKSPACE) --bins --tests
	cargo test $(WORKSPACE) --doc
# Both runners end with their own summary. cargo's has no way to keep Chrome's tests apart from the others, so it runs one
# test at a time; .config/nextest.toml says it for the other. Nor does it end a test that hangs; the time limit does.
	@if cargo nextest --version >/dev/null 2>&1; then \
	    runner=(cargo nextest run $(WORKSPACE)); \
	else \
	    runner=(cargo test $(WORKSPACE) --lib --bins --tests --no-fail-fast -- --test-threads=1); \
	fi; \
	echo "$${runner[*]}"; \
	HYPERFARM_TEST_REQUIRE_SERVERS=1 HYPERFARM_TEST_REQUIRE_GPU=1 HYPERFARM_S3_SERVER=$(abspath $(RELEASE))/s3_server \
	    scripts/services.sh run -- timeout --kill-after=30 3600 "$${runner[@]}"

.PHONY: attack
attack: ## Render every hostile page on a farm, beside a neighbour: about an hour; [HYPERFARM_ATTACK_ONLY=name,name]
	cargo build $(WORKSPACE) --bins
	cargo test $(WORKSPACE) --test attack -- --ignored --nocapture

.PHONY: chaos
chaos: ## Renders under a schedule of faults, CHAOS_MINUTES=60 of it; [CHAOS_SEED=n] [CHAOS_ONLY="name|name"] [CHAOS_KEEP_GOING=1]
	@scripts/setup.sh --test
	cargo build $(WORKSPACE) --bins
	HYPERFARM_S3_SERVER=$(abspath $(RELEASE))/s3_server scripts/services.sh run -- \
	    cargo test $(WORKSPACE) --test chaos -- --ignored --nocapture

PROTOCOL_SEEDS ?= 10000
.PHONY: protocol
protocol: ## Simulate the farm's protocol under faults, PROTOCOL_SEEDS=10000 of it; [PROTOCOL_FIRST=n] [PROTOCOL_SEED=n, with its history]
	PROTOCOL_SEEDS=$(PROTOCOL_SEEDS) cargo test $(WORKSPACE) --test protocol -- --ignored --nocapture

FUZZ_CASES ?= 20000
.PHONY: fuzz
fuzz: ## Random projects, media and headers, FUZZ_CASES=20000 of each (of media a quarter). The other tests run 256
	PROPTEST_CASES=$(FUZZ_CASES) cargo test $(WORKSPACE) --lib --test decoders -- --nocapture fuzz_

.PHONY: format-check
format-check: ## Is the code formatted?
	cargo fmt --all --check

.PHONY: clippy
clippy: setup ## Clippy over every target, warnings are errors
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

.PHONY: docs
docs: setup ## The crates' documentation in target/doc, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc $(WORKSPACE) --no-deps

.PHONY: features-check
features-check: ## Does the binary alone have the same features of dependencies as the workspace?
# A line on the left only is a package that the workspace has with other features.
	@tree() { cargo tree --locked --prefix none --no-dedupe --format '{p} {f}' "$$@" | sort -u; }; \
	    ! comm -23 <(tree --edges normal,build --package hyperfarm) <(tree --edges normal,build,dev --workspace) | grep . \
	    || { echo "the workspace has these packages with other features: name those in cli/Cargo.toml" >&2; exit 1; }

.PHONY: dashboard-check
dashboard-check: setup ## Types and unit tests of the dashboard
	@cd dashboard && node types.mjs && node_modules/.bin/tsc --noEmit \
	    && node_modules/.bin/esbuild tests/units.test.mjs --bundle --platform=node --format=esm --log-level=warning \
	        --outfile=node_modules/.cache/units.test.mjs \
	    && node --test node_modules/.cache/units.test.mjs

.PHONY: dependencies-check
dependencies-check: ## Licences, bans, sources and advisories of every dependency (deny.toml)
	@.ci/dependencies

.PHONY: shell-check
shell-check: ## shellcheck over every shell script
# Without SC1007: an empty CDPATH before cd is meant.
	@shellcheck --severity=warning --exclude=SC1007 $$(git ls-files --cached --others --exclude-standard -- .ci bench scripts examples helm deploy \
	    | while read -r file; do [[ ! -f $$file ]] || ! head -n 1 "$$file" | grep -qE '^#!.*\b(ba)?sh\b' || echo "$$file"; done)

.PHONY: lint
lint: ## Format, features, scripts, chart, deployment, documentation, dashboard, dependencies, clippy
	@scripts/setup.sh --ci
	@$(MAKE) format-check features-check shell-check helm-check deploy-check docs-check dashboard-check dependencies-check clippy

.PHONY: ci
ci: ## Everything, as .ci/run does it: lint, then test
	@.ci/run

.PHONY: helm-check
helm-check: ## Check the Helm chart
	@helm/check

.PHONY: deploy-check
deploy-check: ## Check compose files, systemd units, Dockerfile
	@deploy/check

.PHONY: docs-check
docs-check: ## Check the documentation's links, and the runbook's alerts
	@docs/check

.PHONY: image-check
image-check: ## Run the images' steps and the binary in them, without a container engine (root only)
	@HYPERFARM=$(RELEASE)/hyperfarm deploy/images/check

.PHONY: bench
bench: setup ## Measure beside the published HyperFrames CLI: [ONLY="light video"] [BENCH=options]
	cargo build $(WORKSPACE) --bin hyperfarm --bin bench
	@scripts/setup.sh --bench
	@$(RELEASE)/bench compare $(ONLY) $(BENCH)

.PHONY: parity
parity: setup ## Compare with the published HyperFrames CLI, frame by frame and as sound; or our chunks with one: [ONLY=name,…] [CHUNKS=7]
	cargo build $(WORKSPACE) --bin hyperfarm --bin parity
	@scripts/setup.sh --bench
	@$(RELEASE)/parity --keep $(if $(ONLY),--only $(ONLY)) $(if $(CHUNKS),--chunks $(CHUNKS))

.PHONY: bare-root
bare-root: ## make demo of the last commit, on a bare Debian 12 (root only)
	@scripts/bare-root.sh demo

.PHONY: clean
clean: ## Remove what was built and rendered
	cargo clean
	rm -rf out bench/node_modules

# HYPERFARM=… packs a binary that is there, and builds none.
.PHONY: dist
dist: $(if $(HYPERFARM),,dist-binary) ## Packages, images, SBOM and checksums to out/dist: [PARTS="deb archive chart sbom images checksums"]
	@HYPERFARM=$(or $(HYPERFARM),$(DIST)/hyperfarm) scripts/dist.sh $(PARTS)

.PHONY: sbom
sbom: $(if $(HYPERFARM),,dist-binary) ## Bills of materials (CycloneDX) to out/dist
	@HYPERFARM=$(or $(HYPERFARM),$(DIST)/hyperfarm) scripts/dist.sh sbom

.PHONY: dist-check
dist-check: ## Install what make dist made in bare Debian 12 roots, render, remove: [PARTS="deb archive images"] (root only)
	@scripts/dist-check.sh $(PARTS)
