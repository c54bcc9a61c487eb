#!/usr/bin/env python3
"""Writes the fixtures of a real model: NAME_tokens.jsonl, NAME_greedy.json, NAME_text.json, and NAME_chat.json where it has a chat template.

usage: make_real.py smollm2|gemma MODEL.gguf --llama-libs DIR --data examples/data --out tests/golden [--only tokens,chat,greedy,text,check]

Token ids come from llama.cpp's llama_tokenize: --llama-libs is a folder with its libllama and libggml shared libraries
(the npm package @node-llama-cpp/linux-x64 ships them under bins/). The forward pass is transformers' in f32, with the weights
dequantised by its GGUF loader; `check` holds it against llama.cpp's, on the same weights in f32 and on the file as it is.
"""
import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import gguf
import jinja2.sandbox
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from llama_cpp import LlamaCpp, dequantised
from real_texts import CHATS, ODD_LINES

PROMPT_TOKENS, NEW_TOKENS, LEAST_MARGIN = 64, 64, 0.02
# The texts that every token of is judged: task file, characters. Gemma's window is 512 tokens, so each is well beyond that.
TEXTS = [("heldout-en.jsonl", 4200), ("heldout-zh.jsonl", 1300)]


@dataclass
class Real:
    """What is made of a model."""
    sha256: str
    begin: list         # ids before a text
    prompts: list       # 64-token prompts are cut from these parts of the task files: file, index of the first record
    tokenizer: object   # a function of path and reader that makes a second tokenizer, to compare llama.cpp's ids with


def published_smollm2(_, reader):
    """The GGUF's vocabulary and merges under the splitting rule of SmolLM2's tokenizer.json: digits one by one, then GPT-2's pattern."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def converted(path, _):
    """The tokenizer that transformers makes of a GGUF's SentencePiece vocabulary (it takes minutes), special tokens left as text."""
    tokenizer = AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name).backend_tokenizer
    tokenizer.encode_special_tokens = True
    return tokenizer


MODELS = {
    "smollm2": Real("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", [],
                    [("seeds-en.jsonl", 58), ("heldout-en.jsonl", 58), ("seeds-zh.jsonl", 3), ("heldout-zh.jsonl", 10), ("seeds-en.jsonl", 20)],
                    published_smollm2),
    "gemma": Real("a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", [2],
                  [("seeds-en.jsonl", 65), ("heldout-en.jsonl", 3), ("heldout-en.jsonl", 80), ("seeds-zh.jsonl", 3), ("heldout-zh.jsonl", 50)],
                  converted),
}


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record_text(record):
    instance = record["instances"][0]
    return "\n".join(part for part in (record["instruction"], instance["input"], instance["output"]) if part)


def make_tokens(llama, tokenizer, data, out):
    """One line a distinct text of the task files, then the odd lines; prints where the other tokenizer differs."""
    texts = {}
    for path in sorted(data.glob("*-en.jsonl")) + sorted(data.glob("*-zh.jsonl")):
        for record in read_jsonl(path):
            texts[record["instruction"]] = None
            texts |= {text: None for i in record["instances"] for text in (i["input"], i["output"]) if text}
    texts |= {text: None for text in ODD_LINES}
    differing = 0
    with out.open("w", encoding="utf-8") as file:
        for text in texts:
            ids = llama.encode(text)
            file.write(json.dumps({"text": text, "ids": ids}, ensure_ascii=False, separators=(",", ":")) + "\n")
            other = tokenizer.encode(text, add_special_tokens=False).ids
            if other != ids:
                differing += 1
                print("differs:", repr(text), "llama.cpp", ids, "other", other)
    print(f"{out.name}: {len(texts)} lines, {len(ODD_LINES)} of them odd; {differing} differ from the other tokenizer")


def make_chat(reader, out):
    """Message lists and their text under the model's own template, rendered as transformers renders it."""
    template = reader.fields["tokenizer.chat_template"].contents()
    compiled = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    rendered = [{"messages": messages, "text": compiled.render(messages=messages, add_generation_prompt=False),
                 "text_with_generation_prompt": compiled.render(messages=messages, add_generation_prompt=True)} for messages in CHATS]
    out.write_text(json.dumps({"template": template, "chats": rendered}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def all_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0]


def mean_nll(logits, ids):
    """The mean negative log-likelihood of each token after the first, in nats."""
    return torch.nn.functional.cross_entropy(logits[:len(ids) - 1], torch.tensor(ids[1:])).item()


def likeliest(logits):
    """The likeliest token after each, and by how much it is ahead."""
    top = logits.topk(2)
    return top.indices[:, 0].tolist(), [round(margin, 4) for margin in (top.values[:, 0] - top.values[:, 1]).tolist()]


def make_greedy(real, llama, model, data, out):
    """Greedy continuations with the margin of each choice, and the prompts' mean negative log-likelihood."""
    prompts = []
    for name, first in real.prompts:
        text = "\n\n".join(record_text(record) for record in read_jsonl(data / name)[first:first + 20])
        ids = (real.begin + llama.encode(text))[:PROMPT_TOKENS]
        with torch.no_grad():
            new, cache, fed = [], None, ids
            for _ in range(NEW_TOKENS):
                step = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
                fed, cache = [step.logits[0, -1].argmax().item()], step.past_key_values
                new += fed
        logits = all_logits(model, ids + new)     # margins without the cache, in one pass
        chosen, margins = likeliest(logits[PROMPT_TOKENS - 1:-1])
        assert chosen == new, "cached and plain passes disagree"
        nll = mean_nll(logits, ids)
        print(f"{name}[{first}]: nll {nll:.4f}, least margin {min(margins)}\n--- {llama.decode(ids)!r}\n+++ {llama.decode(new)!r}", flush=True)
        assert min(margins) > LEAST_MARGIN, "choose another prompt: rounding could change this one"
        prompts.append({"source": f"{name}, record {first} on", "prompt_text": llama.decode(ids), "prompt_ids": ids,
                        "prompt_mean_nll": round(nll, 6), "new_ids": new, "new_text": llama.decode(new), "margins": margins})
    write_compact(out, "prompts", prompts)


def fixed_texts(real, llama, data):
    """The texts whose every token is judged, as (source, ids)."""
    for name, characters in TEXTS:
        text = "\n\n".join(record_text(record) for record in read_jsonl(data / name))[:characters]
        yield f"{name}, {characters} characters", real.begin + llama.encode(text)


def make_text(real, llama, model, data, out):
    """The likeliest token after each token of the fixed texts, the margin of the choice, and the mean negative log-likelihood."""
    texts = []
    for source, ids in fixed_texts(real, llama, data):
        logits = all_logits(model, ids)
        chosen, margins = likeliest(logits)
        texts.append({"source": source, "ids": ids, "mean_nll": round(mean_nll(logits, ids), 6), "likeliest": chosen, "margins": margins})
        print(f"{source}: {len(ids)} tokens, nll {texts[-1]['mean_nll']}", flush=True)
    write_compact(out, "texts", texts)


def check(real, llama, model, path, libs, data):
    """Prints how far llama.cpp is from transformers on the fixed texts, with f32 weights and with the file's own."""
    for kind, peer in (("f32", dequantised(libs, path)), ("as it is", llama)):
        for source, ids in fixed_texts(real, llama, data):
            ours, theirs = all_logits(model, ids), torch.from_numpy(peer.logits(ids))
            agreed = sum(a == b for a, b in zip(likeliest(ours)[0], likeliest(theirs)[0])) / len(ids)
            print(f"llama.cpp, {kind}, {source}: logits differ by at most {(ours - theirs).abs().max():.3f}, likeliest tokens agree on "
                  f"{agreed:.2%}, nll {mean_nll(theirs, ids):.4f}, transformers {mean_nll(ours, ids):.4f}", flush=True)


def write_compact(path, key, items):
    """Indented JSON with each list of numbers on one line."""
    body = ",\n".join("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in item.items()) + "\n}" for item in items)
    path.write_text(f'{{"{key}": [\n{body}\n]}}\n', encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-libs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="tokens,chat,greedy,text,check")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    wanted = arguments.only.split(",")
    real, path, data = MODELS[arguments.name], arguments.model, arguments.data
    out = lambda kind: arguments.out / f"{arguments.name}_{kind}"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == real.sha256, "another file"
    reader = gguf.GGUFReader(path)
    llama = LlamaCpp(arguments.llama_libs, path)
    if "tokens" in wanted:
        make_tokens(llama, real.tokenizer(path, reader), data, out("tokens.jsonl"))
    if "chat" in wanted and "tokenizer.chat_template" in reader.fields:
        make_chat(reader, out("chat.json"))
    if not {"greedy", "text", "check"}.isdisjoint(wanted):
        model = AutoModelForCausalLM.from_pretrained(str(path.parent), gguf_file=path.name, dtype=torch.float32).eval()
    if "greedy" in wanted:
        make_greedy(real, llama, model, data, out("greedy.json"))
    if "text" in wanted:
        make_text(real, llama, model, data, out("text.json"))
    if "check" in wanted:
        check(real, llama, model, path, arguments.llama_libs, data)


if __name__ == "__main__":
    main()
