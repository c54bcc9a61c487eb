#!/usr/bin/env python3
"""Adapters to PEFT and llama.cpp and from them, by the real binary; prints a table.

usage: adapters.py --binary target/release/autodidact --llama-libs LIBS

Every case of tests/golden/methods that PEFT saved is imported from its own files, exported as PEFT's and llama.cpp's, and loaded there: the
logits of a prompt against those that PEFT had when it made the adapter. LIBS is the folder under `bins/` of the npm package
`@node-llama-cpp/linux-x64`. Needs: pip install torch transformers peft gguf numpy.
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
sys.path.insert(0, str(GOLDEN))
import llama_cpp  # noqa: E402

# Logits of PEFT are compared in f32; llama.cpp keeps keys and values as halves.
PEFT_MOST, LLAMA_CPP_MOST = 1e-3, 2e-2


class Daemon:
    def __init__(self, binary, home, **environment):
        self.base = [str(binary), "--data-dir", str(home)]
        environment = {**os.environ, **environment}
        self.process = subprocess.Popen([*self.base, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if self.run("model", "list").returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("the daemon does not answer")

    def run(self, *arguments):
        return subprocess.run([*self.base, *arguments], capture_output=True, text=True)

    def must(self, *arguments):
        done = self.run(*arguments)
        if done.returncode != 0:
            raise SystemExit(f"{arguments}: {done.stderr}")
        return done.stdout

    def end(self):
        self.process.terminate()
        self.process.wait()


def apart(found, want):
    return float(numpy.abs(numpy.asarray(found) - numpy.asarray(want)).max())


def in_peft(base, folder, ids):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()


# llama.cpp calls the first model's log until the second has set its own.
KEPT = []


def in_llama_cpp(libs, base, adapter, ids):
    model = llama_cpp.dequantised(libs, base)
    KEPT.append(model)
    lib, pointer = model.lib, ctypes.c_void_p
    lib.llama_adapter_lora_init.restype, lib.llama_adapter_lora_init.argtypes = pointer, [pointer, ctypes.c_char_p]
    lib.llama_set_adapters_lora.restype = ctypes.c_int32
    lib.llama_set_adapters_lora.argtypes = [pointer, ctypes.POINTER(pointer), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)]
    loaded = lib.llama_adapter_lora_init(model.model, str(adapter).encode())
    assert loaded, f"llama.cpp refuses {adapter}"
    make = lib.llama_init_from_model

    def make_adapted(*arguments):
        context = make(*arguments)
        assert lib.llama_set_adapters_lora(context, (pointer * 1)(loaded), 1, (ctypes.c_float * 1)(1.0)) == 0
        return context
    lib.llama_init_from_model = make_adapted
    try:
        return model.logits(ids)[-1]
    finally:
        lib.llama_init_from_model = make


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--llama-libs", type=Path, required=True)
    args = parser.parse_args()
    failed = []
    print("| adapter | base | PEFT | llama.cpp |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(args.binary.resolve(), Path(folder) / "home")
        try:
            known = set()
            for case in sorted((GOLDEN / "methods").iterdir()):
                steps = json.loads((case / "steps.json").read_text())
                # Heads of labels are for heads.py.
                if not (case / "adapter_model.safetensors").exists() or "head_logits" in steps:
                    continue
                base, ids, want = GOLDEN / steps["base"], steps["prompt_ids"], steps["last_logits"]
                if base not in known:
                    daemon.must("model", "add", base.name, str(base))
                    known.add(base)
                daemon.must("model", "import", base.name, str(case), "--as", case.name)
                out = Path(folder) / case.name
                daemon.must("model", "export", base.name, "--adapter", case.name, "--format", "peft", "--out", str(out))
                peft = apart(in_peft(base, out, ids), want)
                ok = peft <= PEFT_MOST
                told = "refused here: not low-rank updates alone"
                gguf = Path(folder) / f"{case.name}-gguf"
                exported = daemon.run("model", "export", base.name, "--adapter", case.name, "--format", "gguf-lora", "--out", str(gguf))
                if exported.returncode == 0 and not (base / "model.gguf").exists():
                    told = "no GGUF of this base"
                elif exported.returncode == 0:
                    most = apart(in_llama_cpp(args.llama_libs, base / "model.gguf", gguf / "adapter.gguf", ids), want)
                    told, ok = f"{most:.1e}", ok and most <= LLAMA_CPP_MOST
                elif "low-rank updates alone" not in exported.stderr:
                    told, ok = exported.stderr.strip(), False
                print(f"| {case.name} | {base.name} | {peft:.1e} | {told} |")
                if not ok:
                    failed.append(case.name)
        finally:
            daemon.end()
    if failed:
        raise SystemExit(f"too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    main()
