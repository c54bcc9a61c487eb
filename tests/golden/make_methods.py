#!/usr/bin/env python3
"""Writes methods/: PEFT's own adapters of small models, and ten steps of training from each.

usage: make_methods.py --golden tests/golden

A case is a folder: `adapter_config.json` and `adapter_model.safetensors` as PEFT saves them before the first step,
`final.safetensors` after the last, and `steps.json` with the batches, the losses and norms of every step, and the logits of one
prompt with the first adapter. Everything is f32; dropout is 0.
"""
import argparse
import json
import math
from pathlib import Path

import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

STEPS, WARMUP_STEPS, PEAK_RATE = 10, 2, 1e-2
BETAS, EPSILON, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.999), 1e-8, 0.01, 1.0
ROWS, WIDTH, IGNORED, PROMPT = 3, 24, -100, 17

# name: the base's folder in tests/golden, and PEFT's configuration
CASES = {
    "lora_patterns": ("families/llama3", LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "down_proj"], use_rslora=True,
        rank_pattern={"k_proj": 2, r"layers.1.mlp.down_proj": 3}, alpha_pattern={"q_proj": 9}, task_type="CAUSAL_LM")),
    "lora_regex": ("families/qwen3", LoraConfig(
        r=3, lora_alpha=6, target_modules=r".*layers\.1\..*\.(q|v|up)_proj", task_type="CAUSAL_LM")),
    "lora_all_linear": ("families/gemma3", LoraConfig(r=2, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")),
    "lora_bias": ("families/qwen2", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"], bias="all", task_type="CAUSAL_LM")),
    "lora_only_bias": ("families/qwen2", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], bias="lora_only", task_type="CAUSAL_LM")),
    "dora": ("families/llama3", LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM")),
    "dora_biased": ("families/qwen2", LoraConfig(
        r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_dora=True, task_type="CAUSAL_LM")),
    "ia3": ("families/llama3", IA3Config(task_type="CAUSAL_LM")),
    "ia3_biased": ("families/qwen2", IA3Config(
        target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], feedforward_modules=["o_proj", "down_proj"],
        task_type="CAUSAL_LM")),
}


def rate_at(step):
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))


def make_batches(vocabulary, generator):
    """Two batches of random tokens of several lengths; the second half of every row carries loss."""
    batches = []
    for _ in range(2):
        batch = {"input_ids": [], "attention_mask": [], "labels": []}
        for row in range(ROWS):
            length = WIDTH - 5 * row
            ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
            pad = WIDTH - length
            batch["input_ids"].append(ids + [0] * pad)
            batch["attention_mask"].append([1] * length + [0] * pad)
            batch["labels"].append([IGNORED] * (length // 2) + ids[length // 2:] + [IGNORED] * pad)
        batches.append(batch)
    return batches


def draw(tensors, generator):
    """Moves every trained tensor off what it begins with, so that each has an effect and a gradient."""
    with torch.no_grad():
        for name in sorted(tensors):
            tensors[name].add_(torch.randn(tensors[name].shape, generator=generator) * 0.05)


def make(golden, name, base, config):
    generator = torch.Generator().manual_seed(len(name))
    torch.manual_seed(len(name))
    folder = golden / "methods" / name
    model = AutoModelForCausalLM.from_pretrained(golden / base, dtype=torch.float32, attn_implementation="eager").eval()
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    draw(trained, generator)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    for extra in ("README.md",):
        (folder / extra).unlink(missing_ok=True)
    vocabulary = model.config.vocab_size
    prompt = torch.randint(3, vocabulary, (PROMPT,), generator=generator).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -1]
    batches = make_batches(vocabulary, generator)
    # Biases are not decayed, as in transformers' Trainer.
    groups = [
        {"params": [p for n, p in trained.items() if not n.endswith("bias")], "weight_decay": WEIGHT_DECAY},
        {"params": [p for n, p in trained.items() if n.endswith("bias")], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON, foreach=False)
    steps = []
    for step in range(STEPS):
        batch = {key: torch.tensor(value) for key, value in batches[step % 2].items()}
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step)
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), CLIP_NORM)
        optimizer.step()
        steps.append({"step": step, "batch": step % 2, "lr": rate_at(step), "loss": loss.item(), "grad_norm": norm.item()})
    from peft import get_peft_model_state_dict
    final = get_peft_model_state_dict(model)
    save_file({k: v.detach().clone().contiguous() for k, v in final.items()}, folder / "final.safetensors", metadata={"format": "pt"})
    (folder / "steps.json").write_text(json.dumps({
        "base": base, "weight_decay": WEIGHT_DECAY, "max_grad_norm": CLIP_NORM,
        "prompt_ids": prompt, "last_logits": [round(x, 6) for x in logits.tolist()], "batches": batches, "steps": steps,
    }) + "\n")
    print(name, [round(s["loss"], 4) for s in steps], sorted(final)[:3], len(final))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True)
    args = parser.parse_args()
    for name, (base, config) in CASES.items():
        make(args.golden, name, base, config)


if __name__ == "__main__":
    main()
