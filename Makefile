# Short recipes: the work is in scripts/. `make help` says what each target does.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt bench bench-host fuzz docs-check env clean-demo

help: ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the tour with a real Ray on loopback; stays up until Ctrl-C (ONCE=1: exit after the tour; PORT=n: not 8266)
	@scripts/demo.sh

test: ## install what the tests need and run all of them, end to end with real Ray too
	@scripts/test.sh

lint: ## formatting, clippy, macOS by type check, licences and sources of dependencies, shell and Python
	@scripts/lint.sh

fmt: ## format Rust and Python
	@scripts/fmt.sh

bench: ## every benchmark, with the machine it ran on; also written to target/bench/
	@scripts/bench.sh

bench-host: ## what curb run costs and how fast a limit is acted on, with the machine it ran on
	@scripts/bench-host.sh

fuzz: ## feed the parsers of policies, limits, submissions and HTTP what nobody thought of (FUZZ_SECONDS=60 for each of them)
	@scripts/fuzz.sh

docs-check: ## are the generated files (schema, OpenAPI, man pages, completions) those that the code makes? (WRITE=1: make them so)
	@scripts/docs-check.sh

env: ## the Python environment with pinned Ray in .venv
	@scripts/env.sh

clean-demo: ## remove what demos left: the data directory and a Ray that was started in the background
	@scripts/clean-demo.sh
