#!/usr/bin/env bash
# Fetches the peers that the tables of README.md compare with, into ${PEERS:-$HOME/.cache/peers}; run again it changes nothing.
# llama.cpp comes prebuilt from npm; PyTorch, transformers and the rest from PyPI. About 6 GB.
set -euo pipefail

peers=${PEERS:-$HOME/.cache/peers}
mkdir -p "$peers"
if [ ! -d "$peers/npm/node_modules/@node-llama-cpp" ]; then
  npm install --silent --prefix "$peers/npm" @node-llama-cpp/linux-x64@3.22.1
fi
if [ ! -x "$peers/venv/bin/python" ]; then
  python3 -m venv "$peers/venv"
fi
"$peers/venv/bin/pip" install --quiet torch transformers peft accelerate sentence-transformers safetensors gguf numpy
echo "the peers are in $peers"
