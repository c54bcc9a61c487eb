#!/usr/bin/env python3
"""Bottleneck adapters to AdapterHub's `adapters` and from it, by the real binary; prints a table.

usage: bottlenecks.py --binary target/release/autodidact

Every case of tests/golden/methods that `adapters` saved is imported from its own files, exported again, and loaded there: the
logits of a prompt against those that the library had when it made the adapter. Then the daemon trains adapters with a head of labels
on the tiny model, and what the library makes of their files is held against what `model classify` gives; one of them goes through the
library's own save and back. The library wants an older transformers than PEFT
does, so it has an environment of its own. Needs: pip install torch adapters numpy.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

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


TASKS = {
    "SEQ_CLS": ("sequence-classification", AutoModelForSequenceClassification, "The soup was cold."),
    "TOKEN_CLS": ("token-classification", AutoModelForTokenClassification, "Anna moved to Oslo on 3 May ."),
}


def headed(auto, folder, labels):
    settings = AutoConfig.from_pretrained(GOLDEN / "tiny", num_labels=labels, pad_token_id=0)
    settings.id2label = {number: f"LABEL_{number}" for number in range(labels)}
    model = auto.from_pretrained(GOLDEN / "tiny", config=settings, dtype=torch.float32)
    adapters.init(model)
    name = model.load_adapter(str(folder), use_safetensors=True)
    model.set_active_adapters(name)
    return model.eval(), name


def heads(run, folder):
    """Yields task, form, and how far the probabilities are from the daemon's."""
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "tiny")
    run("model", "add", "tiny", str(GOLDEN / "tiny"))
    for task, (data, auto, text) in TASKS.items():
        run("dataset", "import", data, str(ROOT / f"examples/data/{data}-train.jsonl"))
        for form in ("pfeiffer", "houlsby"):
            name = f"{form}-{task.lower().replace('_', '-')}"
            sets = [f"task_type={task}", f"bottleneck={form}", "learning_rate=0.01", "max_steps=8", "max_length=96"]
            run("train", name, "--model", "tiny", "--data", data, "--method", "adapter", *(x for s in sets for x in ("--set", s)))
            told = json.loads(run("--json", "model", "classify", "tiny", "--adapter", f"{name}.round-1", text))
            units = told["results"] if task == "SEQ_CLS" else told["results"][0]["words"]
            want = torch.tensor([[unit["probabilities"][label] for label in told["labels"]] for unit in units], dtype=torch.float64)
            out = Path(folder) / name
            run("model", "export", "tiny", "--adapter", f"{name}.round-1", "--format", "adapterhub", "--out", str(out))
            model, loaded = headed(auto, out, len(told["labels"]))
            words = [text] if task == "SEQ_CLS" else [word if not place else " " + word for place, word in enumerate(text.split())]
            pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
            ids, ends = sum(pieces, []), torch.tensor([len(piece) for piece in pieces]).cumsum(0) - 1
            with torch.no_grad():
                logits = model(torch.tensor([ids]), use_cache=False).logits[0]
            logits = logits[None] if task == "SEQ_CLS" else logits[ends]
            yield name, (torch.softmax(logits.double(), -1) - want).abs().max().item()
            again = Path(folder) / f"{name}-again"
            model.save_adapter(str(again), loaded, use_safetensors=True, with_head=True)
            run("model", "import", "tiny", str(again), "--as", f"{name}-again")
            told = json.loads(run("--json", "model", "classify", "tiny", "--adapter", f"{name}-again", text))
            units = told["results"] if task == "SEQ_CLS" else told["results"][0]["words"]
            back = torch.tensor([[unit["probabilities"][label] for label in told["labels"]] for unit in units], dtype=torch.float64)
            yield f"{name}, saved by adapters", (back - want).abs().max().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    args = parser.parse_args()
    failed = []
    print("| adapter | base | adapters | without it |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        base_command = [str(args.binary.resolve()), "--data-dir", str(Path(folder) / "home")]
        environment = {**os.environ, "AUTODIDACT_COMPUTE": "exact"}
        daemon = subprocess.Popen([*base_command, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def run(*arguments):
            done = subprocess.run([*base_command, *arguments], capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{arguments}: {done.stderr}")
            return done.stdout

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
            for name, apart in heads(run, folder):
                print(f"| {name} | tiny | {apart:.1e} | |")
                if not apart <= MOST:
                    failed.append(name)
        finally:
            daemon.terminate()
            daemon.wait()
    if failed:
        raise SystemExit(f"too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    main()
