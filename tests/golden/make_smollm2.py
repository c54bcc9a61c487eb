#!/usr/bin/env python3
"""Writes smollm2_tokens.jsonl, smollm2_chat.json and smollm2_greedy.json from SmolLM2-135M-Instruct.Q4_1.gguf.

usage: make_smollm2.py MODEL.gguf --llama-libs DIR --data examples/data --out tests/golden [--only tokens,chat,greedy]

Token ids come from llama.cpp's llama_tokenize: --llama-libs is a folder with its libllama and libggml shared libraries
(the npm package @node-llama-cpp/linux-x64 ships them under bins/). The forward pass is transformers' in f32, with the weights
dequantised by its GGUF loader.
"""
import argparse
import ctypes
import json
from pathlib import Path

import gguf
import jinja2.sandbox
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

ODD_LINES = [
    # emoji, with skin tones, joiners, flags and keycaps
    "😀", "Nice work! 🎉🎉", "👩‍👩‍👧‍👦 family", "👍🏽 ok", "🇨🇭🇯🇵", "1️⃣ first 2️⃣ second", "今天真开心😄!", "❤️ vs ❤",
    # runs of digits
    "1234567890", "3.14159265358979", "1,000,000.50", "2024-02-29T23:59:59Z", "0x7fff_ffff", "+41 (0)44 555 01 42", "٣٤٥ ५६७", "x2y3 10km 5%",
    # mixed scripts
    "用 Rust 写一个 HTTP server", "Привет, мир and 你好", "日本語とEnglishの混在テスト", "한국어 문장 하나", "שלום עולם", "مرحبا بالعالم", "ภาษาไทย", "Ελληνικά ΑΒΓ αβγ",
    # white space
    " leading space", "trailing space ", "two  spaces   three", "   ", " ", "\t", "\tindented\twith tabs", "line one\nline two\n\nline four",
    "crlf\r\nline", "\n\n\n", "a \n b", "no\u00a0break\u2003em\u3000ideographic\u200bzero width",
    # code
    "def f(x):\n    return x ** 2  # square\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "fn main() -> Result<(), Box<dyn Error>> {}",
    "SELECT * FROM t WHERE a <> 'b' -- c", "{\"k\": [1, 2.5, null, true]}", "x!=y&&z||!w", "<div class=\"a\">&nbsp;</div>", "\\frac{a}{b} \\n \\t",
    # addresses
    "https://example.org/a/b?c=d&e=%20f#g", "user.name+tag@mail.example", "C:\\Users\\me\\notes.txt", "../../etc/hosts",
    # apostrophes, as the splitting rule treats them
    "I'm you're he'll she'd we've it's don't", "I'M YOU'RE HE'LL", "rock ’n’ roll isn’t", "'quoted' ''double''",
    # combining accents and their composed forms, full-width forms, ligatures, private use, other planes
    "e\u0301le\u0300ve na\u0131\u0308ve", "élève naïve", "Z̸a̷l̶g̵o̴", "ＡＢＣ１２３，！？（）", "ﬁn ﬂow ½ ² Ⅳ ™", "\ue000 \ufffd \ufeff", "𝒜𝓃𝒹 𠮷野家", "\u0000null\u0007bell",
    # special tokens as plain text
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nhello<|im_end|>\n", "a<|im_end|>b", "<repo_name><file_sep><jupyter_start>", "<|im_start", "<noinput>",
    # long and repetitive
    "a" * 70, "=" * 40, "...... ---- ____ ~~~~", "哈" * 30, "supercalifragilisticexpialidocious antidisestablishmentarianism", "AaBbCcDdEe camelCaseWordHTTPServer snake_case_word",
]

CHATS = [
    [{"role": "user", "content": "Name the longest river in South America."}],
    [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "把这句话译成英文。\n\n明天商店九点开门。"}],
    [{"role": "user", "content": "Is 51 prime or composite?"}, {"role": "assistant", "content": "composite"},
     {"role": "user", "content": " Why? <b>Explain</b> & show the \"factors\".\n"}],
]

# 64-token prompts are cut from these parts of the task files: file, index of the first record; later records follow on.
PROMPTS = [("seeds-en.jsonl", 58), ("heldout-en.jsonl", 58), ("seeds-zh.jsonl", 3)]
PROMPT_TOKENS, NEW_TOKENS, LEAST_MARGIN = 64, 64, 0.02


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def record_text(record):
    instance = record["instances"][0]
    return "\n".join(part for part in (record["instruction"], instance["input"], instance["output"]) if part)


class LlamaCpp:
    """llama.cpp's tokenizer, by way of its C interface."""

    def __init__(self, libs, model):
        find = lambda pattern: str(sorted(libs.glob(pattern))[0])
        ctypes.CDLL(find("libggml-base*.so*"), mode=ctypes.RTLD_GLOBAL)
        ggml = ctypes.CDLL(find("libggml.*so*"), mode=ctypes.RTLD_GLOBAL)
        self.lib = lib = ctypes.CDLL(find("libllama.*so*"), mode=ctypes.RTLD_GLOBAL)
        ggml.ggml_backend_load.argtypes, ggml.ggml_backend_load.restype = [ctypes.c_char_p], ctypes.c_void_p
        assert ggml.ggml_backend_load(find("libggml-cpu-x64.so").encode())

        class Params(ctypes.Structure):   # llama_model_params, larger than any version's; passed through unchanged
            _fields_ = [("words", ctypes.c_uint32 * 128)]

        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        lib.llama_log_set(self.log, None)
        lib.llama_model_default_params.restype = Params
        lib.llama_model_load_from_file.argtypes, lib.llama_model_load_from_file.restype = [ctypes.c_char_p, Params], ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes, lib.llama_model_get_vocab.restype = [ctypes.c_void_p], ctypes.c_void_p
        lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
                                       ctypes.c_bool, ctypes.c_bool]
        loaded = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
        assert loaded, "load model"
        self.vocab = lib.llama_model_get_vocab(loaded)

    def encode(self, text):
        """Ids of the text with add_special=false and parse_special=false."""
        data = text.encode("utf-8")
        room = (ctypes.c_int32 * (len(data) + 8))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(room), False, False)
        assert count >= 0, text
        return list(room[:count])


def published_tokenizer(reader):
    """The GGUF's vocabulary and merges under the splitting rule of SmolLM2's tokenizer.json: digits one by one, then GPT-2's pattern."""
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    return tokenizer


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def make_tokens(llama, tokenizer, data, out):
    """One line a distinct text of the task files, then the odd lines; prints where the tokenizers library differs."""
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
                print("differs:", repr(text), "llama.cpp", ids, "tokenizers", other)
    print(f"{out.name}: {len(texts)} lines, {len(ODD_LINES)} of them odd; {differing} differ from the tokenizers library")


def make_chat(reader, out):
    """Message lists and their text under the model's own template, rendered as transformers renders it."""
    template = reader.fields["tokenizer.chat_template"].contents()
    compiled = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    rendered = [{"messages": messages, "text": compiled.render(messages=messages, add_generation_prompt=False),
                 "text_with_generation_prompt": compiled.render(messages=messages, add_generation_prompt=True)} for messages in CHATS]
    write_json(out, {"template": template, "chats": rendered})


def make_greedy(llama, model_path, data, out):
    """Greedy continuations with the margin of each choice, and the prompts' mean negative log-likelihood in nats."""
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(str(model_path.parent), gguf_file=model_path.name, dtype=torch.float32).eval()
    tokens = gguf.GGUFReader(model_path).fields["tokenizer.ggml.tokens"].contents()
    byte_of = {c: b for b, c in gpt2_bytes().items()}
    decode = lambda ids: bytes(byte_of[c] for i in ids for c in tokens[i]).decode("utf-8", "replace")
    prompts = []
    for name, first in PROMPTS:
        text = "\n\n".join(record_text(record) for record in read_jsonl(data / name)[first:first + 20])
        ids = llama.encode(text)[:PROMPT_TOKENS]
        with torch.no_grad():
            new, cache, fed = [], None, ids
            for _ in range(NEW_TOKENS):
                step = model(torch.tensor([fed]), past_key_values=cache, use_cache=True)
                fed, cache = [step.logits[0, -1].argmax().item()], step.past_key_values
                new += fed
            logits = model(torch.tensor([ids + new]), use_cache=False).logits[0]     # margins without the cache, in one pass
            nll = torch.nn.functional.cross_entropy(logits[:PROMPT_TOKENS - 1], torch.tensor(ids[1:])).item()
            top = logits[PROMPT_TOKENS - 1:-1].topk(2)
            margins = [round(m, 4) for m in (top.values[:, 0] - top.values[:, 1]).tolist()]
            assert top.indices[:, 0].tolist() == new, "cached and plain passes disagree"
        print(f"{name}[{first}]: nll {nll:.4f}, least margin {min(margins)}\n--- {decode(ids)!r}\n+++ {decode(new)!r}", flush=True)
        assert min(margins) > LEAST_MARGIN, "choose another prompt: rounding could change this one"
        prompts.append({"source": f"{name}, record {first} on", "prompt_text": decode(ids), "prompt_ids": ids, "prompt_mean_nll": round(nll, 6),
                        "new_ids": new, "new_text": decode(new), "margins": margins})
    write_compact(out, prompts)


def write_compact(path, prompts):
    """Indented JSON with each list of numbers on one line."""
    body = ",\n".join("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in p.items()) + "\n}" for p in prompts)
    path.write_text('{"prompts": [\n' + body + "\n]}\n", encoding="utf-8")


def gpt2_bytes():
    """GPT-2's table of printable stand-ins for bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(moved)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-libs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="tokens,chat,greedy")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    wanted = arguments.only.split(",")
    reader = gguf.GGUFReader(arguments.model)
    llama = LlamaCpp(arguments.llama_libs, arguments.model)
    if "tokens" in wanted:
        make_tokens(llama, published_tokenizer(reader), arguments.data, arguments.out / "smollm2_tokens.jsonl")
    if "chat" in wanted:
        make_chat(reader, arguments.out / "smollm2_chat.json")
    if "greedy" in wanted:
        make_greedy(llama, arguments.model, arguments.data, arguments.out / "smollm2_greedy.json")


if __name__ == "__main__":
    main()
