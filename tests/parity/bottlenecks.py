#!/usr/bin/env python3
"""Bottleneck adapters to AdapterHub's `adapters` and from it, by the real binary; prints a table.

usage: bottlenecks.py --binary target/release/autodidact

Every case of tests/golden/methods that `adapters` saved is imported from its own files, exported again, and loaded there: the
logits of a prompt against those that the library had when it made the adapter. The library wants an older transformers than PEFT
does, so it has an environment of its own. Needs: pip install torch adapters numpy.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden"
# In place of this folder, whose adapters.py would hide the library.
sys.path[0] = str(GOLDEN)
import adapters  # noqa: E402
from make_bottleneck import load  # noqa: E402

MOST = 1e-3


def in_adapters(base, folder, ids):
    model = load(base)
    adapters.init(model)
    name = model.load_adapter(str(folder), use_safetensors=True)
    model.set_active_adapters(name)
    with torch.no_grad():
        return model.eval()(torch.tensor([ids]), use_cache=False).logits[0, -1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    args = parser.parse_args()
    failed = []
    print("| adapter | base | adapters | without it |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        base_command = [str(args.binary.resolve()), "--data-dir", str(Path(folder) / "home")]
        daemon = subprocess.Popen([*base_command, "serve"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def run(*arguments):
            done = subprocess.run([*base_command, *arguments], capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{arguments}: {done.stderr}")

        try:
            for _ in range(100):
                if subprocess.run([*base_command, "model", "list"], capture_output=True).returncode == 0:
                    break
                time.sleep(0.1)
            known = set()
            for case in sorted((GOLDEN / "methods").iterdir()):
                if not (case / "adapter.safetensors").exists():
                    continue
                steps = json.loads((case / "steps.json").read_text())
                base, ids, want = GOLDEN / steps["base"], steps["prompt_ids"], torch.tensor(steps["last_logits"])
                if base not in known:
                    run("model", "add", base.name, str(base))
                    known.add(base)
                run("model", "import", base.name, str(case), "--as", case.name)
                out = Path(folder) / case.name
                run("model", "export", base.name, "--adapter", case.name, "--format", "adapterhub", "--out", str(out))
                apart = (in_adapters(base, out, ids) - want).abs().max().item()
                with torch.no_grad():
                    alone = (load(base).eval()(torch.tensor([ids]), use_cache=False).logits[0, -1] - want).abs().max().item()
                print(f"| {case.name} | {base.name} | {apart:.1e} | {alone:.1e} |")
                if apart > MOST:
                    failed.append(case.name)
        finally:
            daemon.terminate()
            daemon.wait()
    if failed:
        raise SystemExit(f"too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    main()
