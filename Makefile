# Every target is a script under scripts/, so that it can be run, read and traced by itself.
# CARGO_TARGET_DIR defaults to ~/.cache/insula/target; one profile (release) serves server, tests and benchmarks.

.PHONY: build serve demo test bench fuzz fmt lint setup

build:  ## the server, in release
	@scripts/build.sh

serve:  ## the server with --dev on a data directory in the clone; ARGS="…" adds flags
	@scripts/serve.sh $(ARGS)

demo:   ## the main job on real data, each answer checked
	@scripts/demo.sh

test:   ## everything: format, Rust, and the drivers of Python, Java, Go and Node
	@scripts/test.sh

bench:  ## the figures of docs/benchmarks.md; ARGS="bulk memory --scale full" chooses
	@scripts/bench.sh $(ARGS)

fuzz:   ## the decoders, with coverage; ARGS="SECONDS TARGET…"
	@scripts/fuzz.sh $(ARGS)

fmt:    ## formats the Rust sources
	@scripts/fmt.sh

lint:   ## clippy, warnings are errors
	@scripts/lint.sh

setup:  ## what the other targets need, installed once
	@scripts/setup.sh all
