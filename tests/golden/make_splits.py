#!/usr/bin/env python3
"""Writes splits.json: a byte-level vocabulary whose merges cross every kind of border, and llama.cpp's ids of texts by it under each
way of splitting text first (GGUF's tokenizer.ggml.pre); and a vocabulary in SentencePiece's way, with ids where a blank is put
before the text (Llama 2, Phi-3) and where none is (Gemma).

usage: make_splits.py --llama-libs DIR --data examples/data --out tests/golden

The vocabulary is learnt from the project's task files without any splitting, so that ids differ wherever a text is split elsewhere.
"""
import argparse
import json
import tempfile
from pathlib import Path

import gguf
import numpy
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llama_cpp import LlamaCpp
from real_texts import ODD_LINES

SPLITS = ["smollm", "starcoder", "refact", "gpt-2", "llama-bpe", "llama3", "llama-v3", "smaug-bpe", "dbrx", "pixtral", "falcon3",
          "qwen2", "deepseek-r1-qwen"]
TOKENS, WIDTH = 1500, 32
MORE = ["In 2024 they sold 1234567 items for $9,999.99 each!!", "don't DON'T we'll WE'LL it's IT'S", "a\n\nb\r\n\r\nc  \n  d",
        "总共12345个，价格是￥67.8元。", "x=1;y=22;z=333;w=4444", "(a)[b]{c}\n\t- item\n\t- item", "naïve café e\u0301te\u0301 ＡＢＣ１２３"]


def lines(data):
    for path in sorted(data.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            record = json.loads(line)
            yield record["instruction"]
            for instance in record.get("instances", []):
                yield f"{instance['input']}\n{instance['output']}"


def learn(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=12,
                                  show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    return tokens + ["<|end|>"], merges


def learn_sentence_piece(texts):
    """Tokens, and their scores: the earlier merged, the higher."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=TOKENS - 300, limit_alphabet=400, max_token_length=12, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    learnt = sorted(model["vocab"], key=model["vocab"].get)
    letters = [token for token in learnt if len(token) == 1]
    merged = [token for token in learnt if len(token) > 1]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + merged + letters
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(merged) + len(letters))]
    return tokens, scores


def add_byte_level(writer, tokens, merges, split):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)


def add_sentence_piece(writer, tokens, scores, prefix):
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(prefix)


def write(path, tokens, add_vocabulary):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH)
    add_vocabulary(writer)
    zeros = lambda *shape: numpy.zeros(shape, dtype=numpy.float32)
    writer.add_tensor("token_embd.weight", zeros(len(tokens), WIDTH))
    writer.add_tensor("output_norm.weight", zeros(WIDTH))
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", zeros(WIDTH))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", zeros(WIDTH, WIDTH))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-libs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    known = list(lines(arguments.data))
    tokens, merges = learn(known + ODD_LINES + MORE)
    texts = [text for text in ODD_LINES + MORE if "\0" not in text] + known[::7]
    ids = {}
    with tempfile.TemporaryDirectory() as folder:
        for split in SPLITS:
            path = Path(folder) / f"{split}.gguf"
            write(path, tokens, lambda writer: add_byte_level(writer, tokens, merges, split))
            llama = LlamaCpp(arguments.llama_libs, path)
            ids[split] = [llama.encode(text) for text in texts]
        pieces, scores = learn_sentence_piece(known + MORE)
        sentence_piece = {"tokens": pieces, "scores": scores, "ids": {}}
        for prefix in (True, False):
            path = Path(folder) / f"sentence-piece-{prefix}.gguf"
            write(path, pieces, lambda writer: add_sentence_piece(writer, pieces, scores, prefix))
            llama = LlamaCpp(arguments.llama_libs, path)
            sentence_piece["ids"][str(prefix).lower()] = [llama.encode(text) for text in texts]
    # Ways that split alike share a list.
    groups = []
    for split, found in ids.items():
        same = next((group for group in groups if group["ids"] == found), None)
        if same:
            same["pre"].append(split)
        else:
            groups.append({"pre": [split], "ids": found})
    print([group["pre"] for group in groups], len(texts), "texts")
    golden = {"tokens": tokens, "merges": merges, "texts": texts, "groups": groups, "sentence_piece": sentence_piece}
    (arguments.out / "splits.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
