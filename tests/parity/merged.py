#!/usr/bin/env python3
"""Whole models with adapters in their weights, in transformers and llama.cpp; prints a table.

usage: merged.py --binary target/release/autodidact --llama-libs LIBS [--model SMOLLM2.gguf …]

Adapters of tests/golden/methods (made by PEFT), adapters trained by the daemon on the tiny models of tests/golden, and with --model one
that it trains on each real model, are exported whole in every format and read by the peers. What they have to agree with is PEFT:
the base in f32 with the adapter beside it. LIBS is the folder under `bins/` of the npm package `@node-llama-cpp/linux-x64`.
Needs: pip install torch transformers peft gguf numpy.
"""
import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from adapters import GOLDEN, ROOT, Daemon

sys.path.insert(0, str(GOLDEN))
import llama_cpp  # noqa: E402

# The bounds: the greatest difference of a logit, the least share of positions with the same likeliest token, the greatest mean
# divergence in nats, the greatest relative change of perplexity.
LOGITS, SAME, DIVERGENCE, PERPLEXITY = 1e-3, 0.99, 5e-3, 0.05
# Windows of attention begin at this length in the tiny models, and llama.cpp has none in Mistral and Phi-3.
PROMPTS, LENGTH = 40, 12
TEXT = "Hello, world! It's 1234567 o'clock.\n\n  The 2nd line\tcosts 3.50 €; naïve café. 天气很好。 🙂 def f(x):\n    return x"
QUESTION = [{"role": "user", "content": "Name a bird."}]
TRAIN = ["--set", "max_length=256", "--set", "batch_size=2", "--set", "r=4", "--set", "target_modules=all-linear"]
# As many records of the seeds are trained on: some steps are enough for an adapter that counts.
RECORDS = 16
# Base -> what its config.json has to say so that GGUF can say it too.
TRAINED = {
    "families/llama3": {}, "families/mistral": {}, "families/qwen2": {}, "families/qwen3": {}, "families/phi3": {},
    "families/gemma3": {"query_pre_attn_scalar": 16, "layer_types": ["sliding_attention"] * 3}, "tiny": {},
}
# Adapters that PEFT makes here, on the matrices that hold several linear layers.
FUSED = {"peft_fused": ("phi3", {}), "peft_fused_dora": ("phi3", {"use_dora": True}), "peft_fused_long": ("phi3_long", {})}
KEPT = []    # llama.cpp calls the first model's log until the second has set its own


def plain(base):
    if base.is_file():
        return AutoModelForCausalLM.from_pretrained(base.parent, gguf_file=base.name, dtype=torch.float32, attn_implementation="eager").eval()
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()


def tokenizer_in(folder):
    """Without settings transformers would take the family's published tokenizer for a tiny model's."""
    if (folder / "tokenizer_config.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def logits_of(model, prompts):
    with torch.no_grad():
        return [model(torch.tensor([ids]), use_cache=False).logits[0].numpy() for ids in prompts]


def sampled(model, vocabulary):
    """Prompts that the model itself finds likely."""
    torch.manual_seed(5)
    ids = torch.randint(0, min(256, vocabulary), (PROMPTS, 1))
    with torch.no_grad():
        while ids.shape[1] < LENGTH:
            logits = model(ids, use_cache=False).logits[:, -1, :256]
            ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], 1)
    return ids.tolist()


def log_softmax(rows):
    rows = rows - rows.max(-1, keepdims=True)
    return rows - numpy.log(numpy.exp(rows).sum(-1, keepdims=True))


def compare(found, wanted, prompts):
    """The greatest difference, the share of positions with the same likeliest token, mean divergence, change of perplexity."""
    most, same, divergence, change = 0.0, [], [], []
    for a, b, ids in zip(wanted, found, prompts):
        most = max(most, float(numpy.abs(a - b).max()))
        same.append(a.argmax(-1) == b.argmax(-1))
        a, b = log_softmax(a.astype(numpy.float64)), log_softmax(b.astype(numpy.float64))
        divergence.append((numpy.exp(a) * (a - b)).sum(-1))
        change.append((a - b)[numpy.arange(len(ids) - 1), ids[1:]])
    mean = lambda parts: float(numpy.concatenate(parts).mean())
    return most, mean(same), mean(divergence), numpy.exp(mean(change)) - 1


class Bench:
    def __init__(self, daemon, libs, folder):
        self.daemon, self.libs, self.folder, self.failed = daemon, libs, Path(folder), []

    def export(self, base, adapter, kind):
        out = self.folder / f"{adapter}-{kind}"
        told = self.daemon.must("model", "export", base, "--adapter", adapter, "--format", kind, "--out", str(out), "--json")
        return out, json.loads(told)

    def holds_weights_alone(self, base, adapter):
        """Prompts, prefixes and weights that a tied base has no place for are refused."""
        out = self.folder / f"{adapter}-tried"
        told = self.daemon.run("model", "export", base, "--adapter", adapter, "--format", "safetensors", "--out", str(out))
        assert told.returncode == 0 or "adds something beside them" in told.stderr, told.stderr
        return told.returncode == 0

    def case(self, name, path, base, adapter, prompts=None, reference=None, not_in_llama_cpp=None):
        """Exports an adapter in every format; a row of the table."""
        peft, _ = self.export(base, adapter, "peft")
        model = PeftModel.from_pretrained(plain(path), peft).eval()
        vocabulary = model.config.vocab_size
        prompts = prompts or sampled(model, vocabulary)
        wanted = logits_of(model, prompts)
        if reference is not None:    # PEFT's own adapter, before it came here
            apart = max(numpy.abs(a - b).max() for a, b in zip(wanted, logits_of(reference, prompts)))
            self.hold(f"{name} through import and export", apart <= LOGITS, apart)
        base_logits = logits_of(plain(path), prompts)
        cells = [f"{compare(base_logits, wanted, prompts)[0]:.1e}"]
        out, _ = self.export(base, adapter, "safetensors")
        most, *_ = compare(logits_of(plain(out), prompts), wanted, prompts)
        cells.append(f"{most:.1e}")
        self.hold(f"{name} in transformers", most <= LOGITS, most)
        vocabulary_of = tokenizer_in(out)
        alone = []    # what the rounded weights themselves are off by, computed in f32
        for kind, judge, show in (
            ("gguf-f16", lambda f: f[1] >= SAME, lambda f: f"{f[1] * 100:.2f}%"),
            ("gguf-q8_0", lambda f: f[2] <= DIVERGENCE, lambda f: f"{f[2]:.1e}"),
            ("gguf-q4_1", lambda f: abs(f[3]) <= PERPLEXITY, lambda f: f"{f[3] * 100:+.1f}%"),
        ):
            out, _ = self.export(base, adapter, kind)
            if not_in_llama_cpp:
                cells.append(not_in_llama_cpp)
                continue
            whole = llama_cpp.LlamaCpp(self.libs, out / "model.gguf")
            KEPT.append(whole)
            found = compare([whole.logits(ids)[:, :vocabulary] for ids in prompts], wanted, prompts)
            cells.append(show(found))
            self.hold(f"{name} as {kind}", judge(found), found)
            if kind != "gguf-f16":
                exact = llama_cpp.dequantised(self.libs, out / "model.gguf")
                KEPT.append(exact)
                found = compare([exact.logits(ids)[:, :vocabulary] for ids in prompts], wanted, prompts)
                alone.append(show(found))
                self.hold(f"the weights of {name} as {kind} in f32", judge(found), found)
            # llama.cpp and transformers read the same text from what was written.
            ids = [whole.encode(TEXT), vocabulary_of.encode(TEXT, add_special_tokens=False)]
            self.hold(f"{name} as {kind}: tokens", ids[0] == ids[1], ids)
        if getattr(vocabulary_of, "chat_template", None):
            laid_out = vocabulary_of.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
            self.hold(f"{name}: template", "Name a bird." in laid_out, laid_out)
        print(f"| {name} | {path.name} | {' | '.join([*cells, *alone])} |", flush=True)

    def hold(self, what, is_so, found):
        if not is_so:
            self.failed.append(f"{what}: {found}")

    def imported(self, name, base, folder):
        self.daemon.must("model", "import", base, str(folder), "--as", name)

    def trained(self, base, *options):
        self.daemon.must("train", f"{base}-run", "--model", base, "--data", "seeds-en", *TRAIN, *options)
        return f"{base}-run.round-1"

    def add(self, name, path):
        self.daemon.must("model", "add", name, str(path))


def texts(folder):
    lines = (ROOT / "examples/data/heldout-en.jsonl").read_text().splitlines()
    instructions = "\n".join(json.loads(line)["instruction"] for line in lines)
    ids = tokenizer_in(folder).encode(instructions, add_special_tokens=False)
    return [ids[at:at + 64] for at in range(0, 640, 64)]


def copied(bench, name, changes):
    """A tiny model under another name: by the name phi-3, llama.cpp takes a file's vocabulary for Phi-3's own."""
    path = bench.folder / Path(name).name.replace("phi3", "fused").replace("_", "-")
    if not path.exists():
        shutil.copytree(GOLDEN / name, path, ignore=shutil.ignore_patterns("model.gguf"))
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **changes}))
    return path


def tiny_cases(bench):
    for name, changes in TRAINED.items():
        path = copied(bench, name, changes)
        base = path.name
        bench.add(base, path)
        # The one that was trained has texts of its own; the others are random, and are asked for texts that they find likely.
        prompts = texts(path) if base == "tiny" else None
        bench.case("trained here", path, base, bench.trained(base, "--set", "learning_rate=1e-2"), prompts)
    for case in sorted((GOLDEN / "methods").iterdir()):
        steps = json.loads((case / "steps.json").read_text())
        base = Path(steps["base"])
        # Heads of labels are for heads.py; gemma3's scores are scaled in a way that GGUF has no field for.
        if base.name == "gemma3" or "head_logits" in steps or not (case / "adapter_model.safetensors").exists():
            continue
        bench.imported(case.name, base.name, case)
        if bench.holds_weights_alone(base.name, case.name):
            bench.case(case.name, GOLDEN / base, base.name, case.name)
    bench.add("fused-long", copied(bench, "families/phi3_long", {}))
    for name, (base, options) in FUSED.items():
        path = copied(bench, f"families/{base}", {})
        torch.manual_seed(3)
        config = LoraConfig(r=4, lora_alpha=6, target_modules=["qkv_proj", "gate_up_proj", "o_proj"], task_type="CAUSAL_LM",
                            rank_pattern={"gate_up_proj": 3}, init_lora_weights=False, **options)
        made = get_peft_model(plain(path), config).eval()
        made.save_pretrained(bench.folder / name)
        bench.imported(name, path.name, bench.folder / name)
        # From its first context on llama.cpp takes the divisors of longer texts, and 64 tokens are less than its least context.
        told = "not within its least context" if base == "phi3_long" else None
        bench.case(name, path, path.name, name, reference=made, not_in_llama_cpp=told)


def real_case(bench, name, path):
    bench.add(name, path)
    adapter = bench.trained(name, "--set", "learning_rate=1e-3")
    whole = llama_cpp.LlamaCpp(bench.libs, path)
    KEPT.append(whole)
    ids = whole.encode((ROOT / "README.md").read_text())
    bench.case("trained here", path, name, adapter, prompts=[ids[at:at + 256] for at in range(0, 1024, 256)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--llama-libs", type=Path, required=True)
    parser.add_argument("--model", type=Path, action="append", default=[])
    args = parser.parse_args()
    print("| adapter | base | base without it | transformers | f16 | Q8_0 | Q4_1 | Q8_0 in f32 | Q4_1 in f32 |\n|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(args.binary.resolve(), Path(folder) / "home")
        bench = Bench(daemon, args.llama_libs, folder)
        try:
            seeds = (ROOT / "examples/data/seeds-en.jsonl").read_text().splitlines(keepends=True)
            (bench.folder / "seeds.jsonl").write_text("".join(seeds[:RECORDS]))
            daemon.must("dataset", "import", "seeds-en", str(bench.folder / "seeds.jsonl"))
            tiny_cases(bench)
            for number, model in enumerate(args.model):
                real_case(bench, f"real-{number}", model)
        finally:
            daemon.end()
    if bench.failed:
        raise SystemExit("\n".join(["too far apart:", *bench.failed]))


if __name__ == "__main__":
    main()
