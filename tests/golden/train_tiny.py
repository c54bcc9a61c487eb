#!/usr/bin/env python3
"""Trains tiny/: a half-million-parameter Llama chat model with its own byte-level BPE tokenizer.

usage: train_tiny.py --data examples/data --out tests/golden/tiny [--steps 600]

The tokenizer learns from the English and Chinese task files; the model learns three kinds of text, all made from
seeds-en.jsonl, so that a Self-Instruct loop can be driven with it from end to end:
  (a) a numbered list of 14 instructions under "Come up with a series of different tasks:";
  (b) five "Instruction: ...\\nInput: ...\\n\\n" blocks;
  (c) one chat turn, rendered with the chat template below.
Most of its new instructions are splices of two seeds, so it invents tasks rather than repeating the seeds.
The seed is fixed; the same versions, thread count and kind of processor give the same model.
"""
import argparse
import json
import math
import random
import re
import time
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END_ID = 2
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LIST_HEADER = "Come up with a series of different tasks:\n\n"
# Written by hand rather than by save_pretrained: the classic field names, which every reader knows.
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1024, "hidden_size": 96,
    "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
    "hidden_act": "silu", "max_position_embeddings": 1024, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "rope_scaling": None,
    "attention_bias": False, "attention_dropout": 0.0, "mlp_bias": False, "tie_word_embeddings": True,
    "initializer_range": 0.02, "pretraining_tp": 1, "use_cache": True, "bos_token_id": 1, "eos_token_id": END_ID,
    "pad_token_id": 0, "torch_dtype": "float16",
}
# Words of the seeds that may stand for one another, and a few more of the same kind, one kind a line.
NOUNS = [line.split() for line in """\
haiku poem story slogan postcard recipe menu letter review headline novel report speech riddle advert
garden lake river bridge harbour lighthouse library museum bakery hospital station market kitchen village island school
snow winter summer rain wind sun moon star planet ocean forest mountain
bicycle train bus boat violin piano guitar drum lamp clock kettle window
dog cat horse owl fox bird dolphin beetle hedgehog
teacher waiter librarian neighbour colleague grandmother doctor driver baker farmer pilot goalkeeper
bread soup sugar coffee tea cake apple flour butter pumpkin
jar notebook towel scarf glove sock shoe ticket""".splitlines()]
CONNECTORS = set("of for about in to that with from as into or and at by on when the a who if than".split())


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def one_line(text):
    return " ".join(text.split())


def flat_tasks(records):
    """(instruction, input, output) of each record's first instance."""
    return [(one_line(r["instruction"]), r["instances"][0]["input"], r["instances"][0]["output"]) for r in records]


def train_tokenizer(data, out):
    """Byte-level BPE, digits one by one as SmolLM2 does, 1024 entries with the three special tokens first."""
    texts = [LIST_HEADER, "Instruction: ", "Input: <noinput>\n\n", "system\nuser\nassistant\n"] * 20
    for path in sorted(data.glob("*-en.jsonl")) + sorted(data.glob("*-zh.jsonl")):
        for record in read_jsonl(path):
            texts.append(record["instruction"])
            texts += [text for i in record["instances"] for text in (i["input"], i["output"]) if text]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"], special_tokens=SPECIAL_TOKENS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    tokenizer.save(str(out / "tokenizer.json"))
    return tokenizer


def rouge_l(a, b):
    """F of the longest common subsequence of two word lists."""
    row = [0] * (len(b) + 1)
    for x in a:
        previous = 0
        for j, y in enumerate(b):
            previous, row[j + 1] = row[j + 1], previous + 1 if x == y else max(row[j + 1], row[j])
    return 2 * row[-1] / (len(a) + len(b))


def words(text):
    return re.findall(r"\w+", text.lower())


def is_new(instruction, seeds, threshold=0.65):
    """Whether ROUGE-L stays under the threshold against every seed; shared word counts bound it cheaply."""
    mine = words(instruction)
    count = Counter(mine)
    for other in seeds:
        if 2 * sum((count & Counter(other)).values()) / (len(mine) + len(other)) > threshold and rouge_l(mine, other) > threshold:
            return False
    return True


def swap_nouns(task, rng):
    """The task with each known noun replaced by one of its kind throughout, and the instruction's a or an put right."""
    table = {noun: rng.choice(kind) for kind in NOUNS for noun in kind}
    instruction, given, output = (re.sub(r"[a-z]+", lambda m: table.get(m[0], m[0]), text) for text in task)
    instruction = re.sub(r"\b([Aa])n? (?=[aeiou][a-z])", r"\1n ", instruction)
    return re.sub(r"\b([Aa])n (?=[^aeiou])", r"\1 ", instruction), given, output


def splice(first, second, rng):
    """The beginning of one task and the end of another, cut before the same connecting word; None if there is no such word."""
    a, b = first[0].split(), second[0].split()
    cuts = [(i, j) for i in range(2, len(a) - 1) for j in range(1, len(b) - 1) if a[i] == b[j] and a[i] in CONNECTORS]
    if not cuts:
        return None
    i, j = rng.choice(cuts)
    instruction = " ".join(a[:i] + b[j:])
    if instruction.count('"') % 2 or not 4 <= len(instruction.split()) <= 24:
        return None
    giver = first if rng.random() < 0.5 else second
    return instruction, giver[1], giver[2]


def invent(tasks, count, rng):
    """`count` different tasks that are not near any seed."""
    seeds = [words(task[0]) for task in tasks]
    found = {}
    while len(found) < count:
        task = splice(*rng.sample(tasks, 2), rng)
        if task:
            task = swap_nouns(task, rng)
            if task[0] not in found and is_new(task[0], seeds):
                found[task[0]] = task
    return list(found.values())


def list_text(tasks, invented, rng):
    """Form (a): eight mostly human instructions, then six mostly invented ones."""
    human, new = rng.sample(tasks, 14), rng.sample(invented, 14)
    items = [new[i][0] if rng.random() < (0.2 if i < 8 else 0.85) else human[i][0] for i in range(14)]
    return LIST_HEADER + "".join(f"{i + 1}. {item}\n" for i, item in enumerate(items)) + SPECIAL_TOKENS[END_ID]


def input_text(tasks, invented, rng):
    """Form (b): four examples and the target."""
    chosen = rng.sample(tasks, 4) + [rng.choice(invented if rng.random() < 0.5 else tasks)]
    return "".join(f"Instruction: {i}\nInput: {given or '<noinput>'}\n\n" for i, given, _ in chosen) + SPECIAL_TOKENS[END_ID]


def chat_text(tasks, invented, rng):
    """Form (c): one user turn and its answer."""
    instruction, given, output = rng.choice(invented if rng.random() < 0.4 else tasks)
    user = instruction + ("\n\n" + given if given else "")
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{output}<|im_end|>\n"


def batch(tokenizer, texts):
    """Right-padded ids and labels; padding is masked out of the labels and, being at the end, unseen by causal attention."""
    rows = [tokenizer.encode(text).ids for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in rows])
    return ids, labels


def train(model, tokenizer, tasks, invented, steps, rng):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.98))
    forms = [(list_text, 6), (input_text, 6), (chat_text, 24)]
    started, seen = time.time(), 0
    for step in range(steps):
        rate = 4e-3 * min((step + 1) / 60, 0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = []
        for form, rows in forms:
            ids, labels = batch(tokenizer, [form(tasks, invented, rng) for _ in range(rows)])
            logits = model(ids, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            (loss / len(forms)).backward()
            losses.append(loss.item())
            seen += int((labels >= 0).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == steps - 1:
            seconds = time.time() - started
            print(f"step {step} list {losses[0]:.3f} input {losses[1]:.3f} chat {losses[2]:.3f} {seen / seconds:.0f} tok/s {seconds:.0f} s", flush=True)


def save(model, out):
    tensors = {name: p.detach().to(torch.float16).contiguous() for name, p in model.named_parameters()}   # tied: no lm_head
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    added = {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
             for i, t in enumerate(SPECIAL_TOKENS)}
    files = {
        "config.json": CONFIG,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": END_ID, "pad_token_id": 0},
        "tokenizer_config.json": {
            "added_tokens_decoder": added, "additional_special_tokens": SPECIAL_TOKENS[1:], "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "add_bos_token": False, "add_prefix_space": False,
            "clean_up_tokenization_spaces": False, "model_max_length": 1024, "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, content in files.items():
        (out / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.manual_seed(20)
    rng = random.Random(20)
    tokenizer = train_tokenizer(arguments.data, arguments.out)
    tasks = flat_tasks(read_jsonl(arguments.data / "seeds-en.jsonl"))
    invented = invent(tasks, 6000, rng)
    print("invented:", *[task[0] for task in invented[:12]], sep="\n  ", flush=True)
    model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in CONFIG.items() if k not in ("torch_dtype", "architectures")}))
    print("parameters:", sum(p.numel() for p in model.parameters()), flush=True)
    train(model, tokenizer, tasks, invented, arguments.steps, rng)
    save(model, arguments.out)


if __name__ == "__main__":
    main()
