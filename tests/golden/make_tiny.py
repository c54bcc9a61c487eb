#!/usr/bin/env python3
"""Writes the golden values of tiny/: tiny_logits.json, tiny_lora*.{json,safetensors} and tiny_tokens.jsonl.

usage: make_tiny.py --model tests/golden/tiny --data examples/data --out tests/golden

Everything is computed in f32 from the f16 weights by transformers and PEFT. The LoRA runs are repeated in f64 from the same
start, and the difference is stored with them, as a measure of what rounding alone does.
"""
import argparse
import json
import math
import random
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from real_texts import ODD_LINES
from train_tiny import LIST_HEADER, one_line, read_jsonl

PROMPT_LENGTHS, NEW_TOKENS, LEAST_MARGIN = (7, 19, 33, 64), 32, 0.02
STEPS, WARMUP_STEPS, PEAK_RATE = 10, 2, 1e-2
BETAS, EPSILON, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.999), 1e-8, 0.01, 1.0
RANK, ALPHA, ROWS, WIDTH, PAD_ID, IGNORED = 4, 8, 3, 40, 0, -100
ATTENTION = ["q_proj", "v_proj"]
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(path, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()


def chat_parts(record):
    """The prompt and the answer of one record in the model's chat format."""
    given, output = record["instances"][0]["input"], record["instances"][0]["output"]
    user = one_line(record["instruction"]) + ("\n\n" + given if given else "")
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n", f"{output}<|im_end|>"


def make_logits(model, tokenizer, records, out):
    """Last-position logits and greedy continuations of four prompts; the margins show that no choice is a near tie."""
    listed = LIST_HEADER + "".join(f"{i + 1}. {one_line(r['instruction'])}\n" for i, r in enumerate(records[20:34]))
    blocks = "".join(f"Instruction: {one_line(r['instruction'])}\nInput: {r['instances'][0]['input'] or '<noinput>'}\n\n" for r in records[5:8])
    texts = ["Write a story about", chat_parts(records[20])[0], blocks, listed]
    prompts = []
    for text, length in zip(texts, PROMPT_LENGTHS):
        ids = tokenizer.encode(text).ids[:length]
        assert len(ids) == length, (length, len(ids))
        new, margins, last = [], [], None
        with torch.no_grad():
            for _ in range(NEW_TOKENS):
                logits = model(torch.tensor([ids + new]), use_cache=False).logits[0, -1]
                last = logits if last is None else last
                top = logits.topk(2)
                new.append(top.indices[0].item())
                margins.append(round((top.values[0] - top.values[1]).item(), 4))
        print(f"{length} tokens, least margin {min(margins)}: {tokenizer.decode(ids, skip_special_tokens=False)!r} -> {tokenizer.decode(new, skip_special_tokens=False)!r}")
        assert min(margins) > LEAST_MARGIN, "choose another prompt: rounding could change this one"
        prompts.append({"prompt_ids": ids, "last_logits": [round(x, 6) for x in last.tolist()], "new_ids": new, "margins": margins})
    write_json(out, {"prompts": prompts})


def make_batches(tokenizer, records, rng):
    """Two batches of three chats, right-padded; only the answer and its end token carry labels."""
    rows = []
    for record in records:
        prompt, answer = (tokenizer.encode(part).ids for part in chat_parts(record))
        if len(prompt) + len(answer) <= WIDTH and len(answer) >= 4:
            rows.append((prompt, answer))
    rows = rng.sample(rows, 2 * ROWS)
    batches = []
    for start in (0, ROWS):
        batch = {"input_ids": [], "attention_mask": [], "labels": []}
        for prompt, answer in rows[start:start + ROWS]:
            pad = WIDTH - len(prompt) - len(answer)
            batch["input_ids"].append(prompt + answer + [PAD_ID] * pad)
            batch["attention_mask"].append([1] * (WIDTH - pad) + [0] * pad)
            batch["labels"].append([IGNORED] * len(prompt) + answer + [IGNORED] * pad)
        batches.append(batch)
    return batches


def rate_at(step):
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))


def lora_tensors(model):
    """The adapter's tensors under the names PEFT saves, which leave out the adapter's own name."""
    return {name.replace(".default.", "."): p for name, p in model.named_parameters() if p.requires_grad}


def train_lora(path, targets, batches, initial, dtype):
    """Ten steps; returns the steps and the final tensors. `initial` None means: draw it and return it too."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(load(path, dtype), config, autocast_adapter_dtype=False)
    tensors = lora_tensors(model)
    if initial is None:
        generator = torch.Generator().manual_seed(20)
        initial = {name: torch.randn(tensors[name].shape, generator=generator) * 0.05 for name in sorted(tensors)}
    with torch.no_grad():
        for name, p in tensors.items():
            p.copy_(initial[name])
    optimizer = torch.optim.AdamW(tensors.values(), betas=BETAS, eps=EPSILON, weight_decay=WEIGHT_DECAY, foreach=False)
    steps = []
    for step in range(STEPS):
        batch = {key: torch.tensor(value) for key, value in batches[step % 2].items()}
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(tensors.values(), CLIP_NORM)
        optimizer.step()
        steps.append({"step": step, "batch": step % 2, "lr": rate_at(step), "loss": loss.item(), "grad_norm": norm.item()})
    return initial, steps, {name: p.detach().clone() for name, p in tensors.items()}


def make_lora(path, name, targets, batches, out):
    initial, steps, final = train_lora(path, targets, batches, None, torch.float32)
    _, exact_steps, exact = train_lora(path, targets, batches, initial, torch.float64)
    difference = max((final[k].double() - exact[k]).abs().max().item() for k in final)
    loss_difference = max(abs(a["loss"] - b["loss"]) for a, b in zip(steps, exact_steps))
    print(name, "tensors", len(final), "f32 - f64: tensors", difference, "loss", loss_difference)
    for step in steps:
        print(" ", step)
    for kind, tensors in (("init", initial), ("final", final)):
        file = out / f"{name}_{kind}.safetensors"
        save_file({k: v.contiguous() for k, v in tensors.items()}, file, metadata={"format": "pt"})
        file.chmod(0o644)
    write_json(out / f"{name}.json", {
        "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "target_modules": targets,
        "formulas": {
            "loss": "mean over all label tokens of the batch of -log softmax(logits[t-1])[labels[t]], labels -100 left out",
            "lr": f"step < {WARMUP_STEPS}: {PEAK_RATE} * (step + 1) / {WARMUP_STEPS}; "
                  f"else {PEAK_RATE} * 0.5 * (1 + cos(pi * (step - {WARMUP_STEPS}) / {STEPS - WARMUP_STEPS}))",
            "clip": f"grad *= min(1, {CLIP_NORM} / (norm + 1e-6)), norm = L2 over all LoRA gradients together",
            "adamw": "p *= 1 - lr * weight_decay; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; "
                     "p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps), t = step + 1",
        },
        "betas": BETAS, "eps": EPSILON, "weight_decay": WEIGHT_DECAY, "max_grad_norm": CLIP_NORM,
        "difference_from_f64": {"final_tensors_max_abs": difference, "loss_max_abs": loss_difference},
        "batches": batches, "steps": steps,
    })


def make_tokens(tokenizer_file, data, out):
    """100 lines. `ids` takes special-token text as plain text; `parsed_ids`, where it differs, recognises it."""
    plain, parsing = Tokenizer.from_file(str(tokenizer_file)), Tokenizer.from_file(str(tokenizer_file))
    plain.encode_special_tokens = True
    texts = list(dict.fromkeys(ODD_LINES))
    more = [iter(read_jsonl(data / f"heldout-{language}.jsonl")) for language in ("en", "zh")]
    while len(texts) < 100:
        record = next(more[len(texts) % 2])
        texts.append(record["instruction"] + (" " + record["instances"][0]["input"]).rstrip())
    with out.open("w", encoding="utf-8") as file:
        for text in texts[:100]:
            line = {"text": text, "ids": plain.encode(text, add_special_tokens=False).ids}
            parsed = parsing.encode(text, add_special_tokens=False).ids
            if parsed != line["ids"]:
                line["parsed_ids"] = parsed
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_json(path, value):
    """JSON indented for the outer levels only: each list of numbers stays on one line."""
    def text(v, level):
        if isinstance(v, (dict, list)) and v and (isinstance(v, dict) or isinstance(v[0], (dict, list))) and level < 4:
            pad = " " * (level + 1)
            items = [f"{json.dumps(k)}: {text(x, level + 1)}" for k, x in v.items()] if isinstance(v, dict) else [text(x, level + 1) for x in v]
            left, right = "{}" if isinstance(v, dict) else "[]"
            return left + "\n" + ",\n".join(pad + item for item in items) + "\n" + " " * level + right
        return json.dumps(v, ensure_ascii=False)
    path.write_text(text(value, 0) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--model", "--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    records = read_jsonl(arguments.data / "seeds-en.jsonl")
    make_logits(load(arguments.model), tokenizer, records, arguments.out / "tiny_logits.json")
    batches = make_batches(tokenizer, read_jsonl(arguments.data / "heldout-en.jsonl"), random.Random(20))
    make_lora(arguments.model, "tiny_lora", ATTENTION, batches, arguments.out)
    make_lora(arguments.model, "tiny_lora_all", ALL_LINEAR, batches, arguments.out)
    make_tokens(arguments.model / "tokenizer.json", arguments.data, arguments.out / "tiny_tokens.jsonl")


if __name__ == "__main__":
    main()
