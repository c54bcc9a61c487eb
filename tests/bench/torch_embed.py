"""Sentences a second of PyTorch with transformers, the same sentences as `autodidact bench embed` makes vectors of.

    torch_embed.py FOLDER [--batch 64] [--threads 2] [--runs 7]

Needs torch and transformers; everything from text to normalised vector is timed, the first run is not counted.
"""

import argparse
import statistics
import time

import torch
from transformers import AutoModel, AutoTokenizer

WORDS = (
    "the quick brown fox jumps over lazy dog while many people write short tasks about science history music food "
    "travel and code"
).split()

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=7)
options = parser.parse_args()

torch.set_num_threads(options.threads)
tokenizer = AutoTokenizer.from_pretrained(options.folder)
model = AutoModel.from_pretrained(options.folder).eval()
sentences = [" ".join(WORDS[(i * 7 + j * 3) % len(WORDS)] for j in range(20)) for i in range(options.batch)]


@torch.inference_mode()
def embed():
    encoded = tokenizer(sentences, padding=True, return_tensors="pt")
    states = model(**encoded).last_hidden_state
    mask = encoded["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)


rates = []
for run in range(options.runs + 1):
    start = time.perf_counter()
    embed()
    if run:
        rates.append(options.batch / (time.perf_counter() - start))
print(f"{statistics.median(rates):.1f} sentences/s of {options.runs} runs, {min(rates):.1f} to {max(rates):.1f}")
