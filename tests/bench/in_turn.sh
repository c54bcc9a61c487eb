#!/usr/bin/env bash
# Measures this engine and llama.cpp in turn, A B A B, on one model; one object a line.
#
# usage: in_turn.sh MODEL.gguf BATCHES [--requantize q4_0]        for example: in_turn.sh model.gguf 1,8,32
set -euo pipefail

model=$1 batches=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
python=${PEERS:-$HOME/.cache/peers}/venv/bin/python
autodidact=${AUTODIDACT:-$here/../../target/release/autodidact}
for _ in 1 2; do
  "$autodidact" bench generate --model "$model" --batch "$batches" --threads 2 --json
  "$python" "$here/llama_cpp.py" "$model" --batch "$batches" --threads 2 "$@"
done
