"""Ten steps of training on random batches, as the reference runs have them in common."""
import argparse
import math
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

STEPS, WARMUP_STEPS, PEAK_RATE = 10, 2, 1e-2
BETAS, EPSILON, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.999), 1e-8, 0.01, 1.0
ROWS, WIDTH, IGNORED, PROMPT = 3, 24, -100, 17
# transformers 5.24.0, trainer.py, get_decay_parameter_names
NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def rate_at(step, peak=PEAK_RATE):
    if step < WARMUP_STEPS:
        return peak * (step + 1) / WARMUP_STEPS
    return peak * 0.5 * (1 + math.cos(math.pi * (step - WARMUP_STEPS) / (STEPS - WARMUP_STEPS)))


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


def save(tensors, path):
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def draw_prompt(vocabulary, generator):
    return torch.randint(3, vocabulary, (PROMPT,), generator=generator).tolist()


def last_logits(model, prompt):
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -1]
    return [round(x, 6) for x in logits.tolist()]


def loss_of(model, batch):
    """The mean over the labels; the logits of virtual tokens, which come first, answer for none."""
    out = model(**batch, use_cache=False)
    logits = out.logits[:, -WIDTH:]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
    assert abs(loss.item() - out.loss.item()) < 1e-5, "the library's own loss is another"
    return loss


def train(model, trained, batches, peak=PEAK_RATE):
    groups = [
        {"params": [p for n, p in trained.items() if not NOT_DECAYED.search(n.lower())], "weight_decay": WEIGHT_DECAY},
        {"params": [p for n, p in trained.items() if NOT_DECAYED.search(n.lower())], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON, foreach=False)
    steps = []
    for step in range(STEPS):
        batch = {key: torch.tensor(value) for key, value in batches[step % 2].items()}
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, peak)
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trained.values(), CLIP_NORM)
        optimizer.step()
        steps.append({"step": step, "batch": step % 2, "lr": rate_at(step, peak), "loss": loss.item(), "grad_norm": norm.item()})
    return steps


def check_padding(model, batch):
    """A row alone, without padding and without a mask, has the logits that it has in a padded batch."""
    with torch.no_grad():
        together = model(torch.tensor(batch["input_ids"]), attention_mask=torch.tensor(batch["attention_mask"]), use_cache=False).logits
        for row, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"])):
            alone = model(torch.tensor([ids[:sum(mask)]]), use_cache=False).logits[0]
            difference = (together[row, :len(alone)] - alone).abs().max().item()
            assert difference < 1e-5, f"row {row} differs by {difference}"


def make_cases(doc, cases, make):
    """Runs a script of reference runs: `make(golden, name, *case)` for the cases that the command line names."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="the cases to make; all of them if none is named")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in args.cases or cases:
        make(args.golden, name, *cases[name])
