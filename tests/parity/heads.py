#!/usr/bin/env python3
"""Heads of labels to PEFT and transformers and from them, by the real binary; prints a table.

usage: heads.py --binary target/release/autodidact [--model GGUF]

Every case of tests/golden/methods with a head that PEFT saved is imported from its own files, exported as PEFT's and as a whole model,
and loaded there: the labels' logits of a prompt against those that PEFT had when it made the adapter. Then the daemon trains adapters
of every method with a head on the example data, on a tiny model and on GGUF where it is given, exports them, and what transformers
makes of the files is held against the probabilities that `model classify` gives. Needs: pip install torch transformers peft gguf numpy.
"""
import argparse
import json
import tempfile
from pathlib import Path

import numpy
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from adapters import GOLDEN, ROOT, Daemon, apart

MOST = 1e-3
AUTO = {"SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification}
DATA = {"SEQ_CLS": "sequence-classification", "TOKEN_CLS": "token-classification"}
OPTIONS = {
    "lora": ["target_modules=all-linear"], "qlora": ["use_dora=true"], "ia3": [], "prompt": ["num_virtual_tokens=8"],
    "prefix": ["num_virtual_tokens=8"], "full": ["target_modules=[down_proj, norm]"],
}
TEXTS = ["The soup was cold and the waiter was rude.", "这家店的服务很好。"]
WORDS = [["Anna", "Berg", "moved", "to", "Oslo", "on", "3", "May", "."], list("王芳住在南京。")]


def load(task, path, settings, **more):
    return AUTO[task].from_pretrained(path, config=settings, dtype=torch.float32, attn_implementation="eager", **more)


def with_adapter(task, base, folder, labels, **more):
    """The base with the head that the adapter brings."""
    settings = AutoConfig.from_pretrained(base, num_labels=labels, pad_token_id=0, **more)
    return PeftModel.from_pretrained(load(task, base, settings, **more), folder).eval()


def whole(task, folder):
    return load(task, folder, AutoConfig.from_pretrained(folder)).eval()


def logits_of(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
    return logits[-len(ids):] if logits.dim() == 2 else logits


def check(rows, failed, name, base, figures):
    told = [f"{x:.1e}" if isinstance(x, float) else x for x in figures]
    rows.append(f"| {name} | {base} | {' | '.join(told)} |")
    print(rows[-1], flush=True)
    if any(isinstance(x, float) and not x <= MOST for x in figures):
        failed.append(name)


def fixtures(daemon, folder, rows, failed):
    known = set()
    for case in sorted((GOLDEN / "methods").iterdir()):
        steps = json.loads((case / "steps.json").read_text())
        if "head_logits" not in steps or not (case / "adapter_model.safetensors").exists():
            continue
        base, ids, task = GOLDEN / steps["base"], steps["prompt_ids"], steps["task_type"]
        want = numpy.asarray(steps["head_logits"])
        if base not in known:
            daemon.must("model", "add", base.name, str(base))
            known.add(base)
        daemon.must("model", "import", base.name, str(case), "--as", case.name)
        out = {form: folder / f"{case.name}-{form}" for form in ("peft", "safetensors")}
        daemon.must("model", "export", base.name, "--adapter", case.name, "--format", "peft", "--out", str(out["peft"]))
        peft = apart(logits_of(with_adapter(task, base, out["peft"], 3), ids).flatten(), want)
        exported = daemon.run("model", "export", base.name, "--adapter", case.name, "--format", "safetensors", "--out", str(out["safetensors"]))
        if exported.returncode == 0:
            merged = apart(logits_of(whole(task, out["safetensors"]), ids).flatten(), want)
        else:
            assert "adds something beside them" in exported.stderr, exported.stderr
            merged = "no change of weights alone"
        check(rows, failed, case.name, base.name, [peft, merged])


def classified(daemon, model, adapter, task):
    """The log-probabilities that the daemon gives, a row a text or a word."""
    texts = TEXTS if task == "SEQ_CLS" else ["".join(words) if words[0] > "一" else " ".join(words) for words in WORDS]
    told = json.loads(daemon.must("--json", "model", "classify", model, "--adapter", adapter, *texts))
    rows = []
    for result in told["results"]:
        units = [result] if task == "SEQ_CLS" else result["words"]
        rows.append([[unit["probabilities"][label] for label in told["labels"]] for unit in units])
    return told["labels"], rows


def tokens_of(tokenizer, task):
    """What each text is to transformers: its tokens, and the places of those that are judged."""
    if task == "SEQ_CLS":
        all_ids = [tokenizer(text)["input_ids"] for text in TEXTS]
        return [(ids, [len(ids) - 1]) for ids in all_ids]
    laid_out = []
    for words in WORDS:
        ids, ends = list(tokenizer("")["input_ids"]), []
        for place, word in enumerate(words):
            blank = " " if place and word < "\u2e80" else ""
            ids += tokenizer(blank + word, add_special_tokens=False)["input_ids"]
            ends.append(len(ids) - 1)
        laid_out.append((ids, ends))
    return laid_out


def trained(daemon, folder, model, path, fast, rows, failed):
    gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    base = path.parent if gguf else path
    tokenizer = AutoTokenizer.from_pretrained(base, **gguf)
    for task, data in DATA.items():
        for method, options in OPTIONS.items():
            name = f"{method}-{task.lower().replace('_', '-')}-{model[:8]}"
            sets = [f"task_type={task}", "learning_rate=0.003", f"max_steps={6 if fast else 12}", "max_length=96", *options]
            daemon.must("train", name, "--model", model, "--data", f"{data}-train", "--method", method, *(x for s in sets for x in ("--set", s)))
            adapter = f"{name}.round-1"
            labels, want = classified(daemon, model, adapter, task)
            figures = []
            for form in ("peft", "safetensors"):
                out = folder / f"{name}-{form}"
                done = daemon.run("model", "export", model, "--adapter", adapter, "--format", form, "--out", str(out))
                if done.returncode != 0:
                    assert "expected" in done.stderr, done.stderr
                    figures.append("refused here, as it has no form for it")
                    continue
                if form == "peft" and gguf:
                    # PEFT resolves the base itself; the whole model is what a GGUF's users load.
                    loaded = with_adapter(task, base, out, len(labels), **gguf)
                else:
                    loaded = with_adapter(task, base, out, len(labels)) if form == "peft" else whole(task, out)
                    if form == "safetensors":
                        assert [loaded.config.id2label[i] for i in range(len(labels))] == labels
                most = 0.0
                if method == "prefix":
                    # PEFT 0.21.2: "Model does not support past key values".
                    figures.append("PEFT refuses prefix tuning with a head")
                    continue
                for (ids, ends), rows_wanted in zip(tokens_of(tokenizer, task), want):
                    logits = logits_of(loaded, ids)
                    logits = logits[None] if task == "SEQ_CLS" else logits[ends]
                    found = torch.softmax(logits.double(), -1).numpy()
                    most = max(most, apart(found, rows_wanted))
                figures.append(most)
            check(rows, failed, name, model, figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    args = parser.parse_args()
    rows, failed = [], []
    print("| adapter | base | PEFT | whole model in transformers |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        daemon = Daemon(args.binary.resolve(), folder / "home", AUTODIDACT_COMPUTE="exact")
        try:
            fixtures(daemon, folder, rows, failed)
            for data in DATA.values():
                file = ROOT / f"examples/data/{data}-train.jsonl"
                daemon.must("dataset", "import", f"{data}-train", str(file))
            daemon.must("model", "add", "tiny", str(GOLDEN / "tiny"))
            trained(daemon, folder, "tiny", GOLDEN / "tiny", False, rows, failed)
            if args.model:
                daemon.must("model", "add", "real", str(args.model))
                trained(daemon, folder, "real", args.model, True, rows, failed)
        finally:
            daemon.end()
    if failed:
        raise SystemExit(f"too far apart: {', '.join(failed)}")


if __name__ == "__main__":
    main()
