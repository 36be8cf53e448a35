# Short words for what is done every day. Everything here also works by typing the cargo command.

_list:
    @just --list --unsorted

# All that must be green before a change is proposed.
check: fmt clippy test doc deny

# Is everything formatted?
fmt:
    cargo fmt --all -- --check

# Lints, warnings are errors.
clippy:
    cargo clippy --all-targets --locked -- -D warnings

# Unit tests and the black-box tests over real sockets.
test *FILTER:
    cargo test --locked {{ FILTER }}

# The documentation builds without a warning.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

# Licences, banned and duplicate crates, sources (needs cargo-deny).
deny:
    cargo deny --locked check licenses bans sources

# What only a browser can prove, in headless Chromium (needs chromium, node and npm).
browser:
    cargo build --locked
    tests/browser/run

# The offline trial: emulator, legacy app and proxy.
demo *ARGS:
    cargo run -- demo {{ ARGS }}

# Reads a configuration and prints the effective one.
config FILE="proxy.example.toml":
    cargo run -- check --config {{ FILE }}

# What the hot parts of a request cost, in instructions where valgrind is installed.
bench:
    cargo bench --bench request
    cargo bench --bench session_cookie

# Loads the floor, the peers and ourselves in turn (docs/performance.md says what it needs).
compare *ARGS:
    benches/compare/run {{ ARGS }}
