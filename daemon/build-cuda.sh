#!/usr/bin/env bash
# Builds autodidact with CUDA; a GPU is only needed to run it. Not a part of the ordinary tests.
#
# usage: daemon/build-cuda.sh [--compute-capability N] [-- COMMAND …]
#
# With a toolkit of NVIDIA's in $CUDA_HOME that one is used. Without, the pinned parts of CUDA 13.0 come from PyPI, about
# 1.2 GB, into ${XDG_CACHE_HOME:-$HOME/.cache}/autodidact-cuda; run again, nothing is fetched a second time. Where no
# driver is installed, the program is linked against an empty one that this script makes. It needs cargo, python3 and gcc.
#
# --compute-capability N   the GPU that the build is for, as NVIDIA counts: 80 (A100), 86, 89, 90 (H100), 100 … [default: 90].
#                          A build for 80 to 89 serves newer ones too, one from 90 on that one alone; bf16 needs at least 80
# COMMAND                  what to run with everything set [default: build the program]
#
# Examples:
#   daemon/build-cuda.sh
#   daemon/build-cuda.sh --compute-capability 86
#   daemon/build-cuda.sh -- cargo clippy --release -p autodidact --features cuda -- -D warnings
#   AUTODIDACT_TEST_CUDA=1 daemon/build-cuda.sh -- cargo test --release -p autodidact-engine --features cuda --lib cuda
set -euo pipefail

usage() { sed -n '2,19p' "$0" | sed 's/^# \{0,1\}//'; }
fail() { echo "daemon/build-cuda.sh: $1" >&2; exit 1; }

capability=90
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --compute-capability) capability=${2:-}; shift 2 || true ;;
    --) shift; break ;;
    *) usage >&2; exit 2 ;;
  esac
done
[[ "$capability" =~ ^[0-9]{2,3}$ ]] || { echo "--compute-capability: expected a number such as 90, found \"$capability\"" >&2; exit 2; }
[ $# -gt 0 ] || set -- cargo build --release -p autodidact --features cuda

cd "$(dirname "$0")/.."
root=$PWD
cache=${XDG_CACHE_HOME:-$HOME/.cache}/autodidact-cuda
for tool in cargo python3 gcc; do
  command -v "$tool" >/dev/null || fail "$tool is not on the PATH"
done

# Newer parts than 13.0 make code that a driver of the 580 series does not take.
wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85 nvidia-cublas==13.0.2.14 nvidia-cuda-nvrtc==13.0.88 nvidia-curand==10.4.0.35
)
if [ -n "${CUDA_HOME:-}" ]; then
  [ -x "$CUDA_HOME/bin/nvcc" ] || fail "CUDA_HOME is $CUDA_HOME, where there is no bin/nvcc"
else
  mkdir -p "$cache"
  [ -x "$cache/venv/bin/python" ] || python3 -m venv "$cache/venv"
  if [ "$(cat "$cache/wheels" 2>/dev/null)" != "${wheels[*]}" ]; then
    echo "fetching CUDA's parts from PyPI" >&2
    "$cache/venv/bin/python" -m pip install -q --disable-pip-version-check "${wheels[@]}"
    echo "${wheels[*]}" > "$cache/wheels"
  fi
  CUDA_HOME=$("$cache/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu13
  [ -x "$CUDA_HOME/bin/nvcc" ] || fail "the wheels brought no nvcc; remove $cache and run again"
  # The wheels have libraries by their versions alone, which the linker does not look for.
  for library in cudart cublas cublasLt curand nvrtc; do
    versioned=$(cd "$CUDA_HOME/lib" && ls "lib$library".so.[0-9]* | head -n 1)
    ln -sfn "$versioned" "$CUDA_HOME/lib/lib$library.so"
  done
  [ -e "$CUDA_HOME/lib64" ] || ln -s lib "$CUDA_HOME/lib64"
fi
libraries=$CUDA_HOME/lib64

# The driver's library comes with the driver. To link, its names are enough: one that answers every call with an error.
stubs=$libraries/stubs
if [ ! -e "$stubs/libcuda.so" ] && ! echo 'int main(void) { return 0; }' | gcc -x c - -lcuda -o /dev/null 2>/dev/null; then
  stubs=$cache/stubs
  mkdir -p "$stubs"
  bindings=$(cargo metadata --format-version 1 --locked --features autodidact/cuda --manifest-path "$root/Cargo.toml" |
    python3 -c 'import json, sys; print(*[p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"])')
  bindings=$(dirname "$bindings")/src/driver/sys/mod.rs
  {
    # 34 is CUDA_ERROR_STUB_LIBRARY (cuda.h).
    grep -oE 'fn cu[A-Z][A-Za-z0-9_]*' "$bindings" | sort -u | sed -e 's/^fn //' -e '/^cuGetError/d' -e 's/.*/int &(void) { return 34; }/'
    echo 'int cuGetErrorName(int error, const char **text) { (void)error; *text = "CUDA_ERROR_STUB_LIBRARY"; return 0; }'
    echo 'int cuGetErrorString(int error, const char **text) { (void)error; *text = "this libcuda is empty, made for linking: no driver is installed"; return 0; }'
  } > "$stubs/libcuda.c"
  gcc -shared -fPIC -O1 -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so.1" "$stubs/libcuda.c"
  ln -sfn libcuda.so.1 "$stubs/libcuda.so"
fi

export CUDA_HOME CUDA_PATH=$CUDA_HOME CUDA_ROOT=$CUDA_HOME CUDA_TOOLKIT_ROOT_DIR=$CUDA_HOME
export NVCC=$CUDA_HOME/bin/nvcc CUDA_COMPUTE_CAP=$capability PATH=$CUDA_HOME/bin:$PATH
export LIBRARY_PATH=$libraries:$stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
# What is built runs here, too: against the driver where there is one, else against the empty one.
export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1 ' || LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$stubs
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/cuda}
"$@"

# From 90 on, candle's build asks for code of that architecture alone (sm_90a), which no other runs.
serves=$capability
[ "$capability" -ge 90 ] || serves="$capability and newer"
binary=$CARGO_TARGET_DIR/release/autodidact
if [ -x "$binary" ]; then
  cat <<END

built for compute capability $serves: $binary
To run it: an NVIDIA driver, and CUDA's libraries, which do not come with the binary:
  export LD_LIBRARY_PATH=$libraries
  $binary bench generate --model smollm2-135m-instruct --device cuda
Without libcuda.so.1, the driver's library, it does not start.
END
  [ "$stubs" != "$cache/stubs" ] || echo "An empty one, to start it without a GPU: LD_LIBRARY_PATH=$libraries:$stubs"
fi
