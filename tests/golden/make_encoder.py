#!/usr/bin/env python3
"""Writes encoder/: tiny random encoders (BERT with mean pooling, RoBERTa with CLS pooling) and their reference vectors; and
minilm_vectors.json, reference vectors of all-MiniLM-L6-v2.

usage: make_encoder.py --out tests/golden [--minilm FOLDER] [--data examples/data]
       make_encoder.py --minilm FOLDER --compare VECTORS.json

The vectors are sentence-transformers', on the CPU in f32, each text alone. With --compare, nothing is written: what
`autodidact model embed --json` printed is held against the reference, and the smallest cosine is shown.
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

TEXTS = ["", "a", "The cat sat on the mat.", "the cat sat on a hat", "cats, hats and mats!", "Éclair café", "鲸鱼 the 鱼",
         "unknown ☃ thing", "the " * 60, "mat at sat the cat a hat on the mat at a cat on the hat sat a mat"]
PIECES = ["the", "cat", "hat", "mat", "sat", "on", "and", "##s", "##at", "ca", "##fe", "鱼", "##ing", "th", ".", ",", "!"]
MAX_TOKENS = 24


def write_tokenizer(folder, specials, begin, end):
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1) if chr(c) != "w"]
    texts = specials + PIECES + letters + ["##" + letter for letter in letters]
    vocabulary = {text: index for index, text in enumerate(texts)}
    added = [dict(id=i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, text in enumerate(specials)]
    mark = lambda text: dict(SpecialToken=dict(id=text, type_id=0))
    whole = dict(Sequence=dict(id="A", type_id=0))
    tokenizer = dict(
        version="1.0", truncation=None, padding=None, added_tokens=added,
        normalizer=dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True),
        pre_tokenizer=dict(type="BertPreTokenizer"),
        post_processor=dict(type="TemplateProcessing", single=[mark(begin), whole, mark(end)],
                            pair=[mark(begin), whole, mark(end), dict(Sequence=dict(id="B", type_id=0)), mark(end)],
                            special_tokens={t: dict(id=t, ids=[vocabulary[t]], tokens=[t]) for t in (begin, end)}),
        decoder=dict(type="WordPiece", prefix="##", cleanup=True),
        model=dict(type="WordPiece", unk_token=next(t for t in specials if "unk" in t.lower()), continuing_subword_prefix="##",
                   max_input_chars_per_word=100, vocab=vocabulary))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=512, cls_token=begin, sep_token=end,
                  pad_token=next(t for t in specials if "pad" in t.lower()), unk_token=next(t for t in specials if "unk" in t.lower()))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(texts)


def write_model(folder, model, dtype, pooling):
    torch.manual_seed(7)
    for name, tensor in model.named_parameters():
        torch.nn.init.normal_(tensor, mean=1.0 if "LayerNorm.weight" in name else 0.0, std=0.25)
        tensor.data = tensor.data.to(dtype).to(torch.float32)
    save_file({name: tensor.detach().to(dtype).contiguous() for name, tensor in model.named_parameters()},
              folder / "model.safetensors", metadata=dict(format="pt"))
    (folder / "config.json").write_text(json.dumps({k: v for k, v in model.config.to_dict().items() if k != "dtype"}, indent=1) + "\n")
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["", "1_Pooling", "2_Normalize"]
    (folder / "modules.json").write_text(json.dumps([
        dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{kind}")
        for i, (kind, path) in enumerate(zip(modules, paths))], indent=1) + "\n")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps(dict(
        word_embedding_dimension=model.config.hidden_size, pooling_mode_cls_token=pooling == "cls",
        pooling_mode_mean_tokens=pooling == "mean", pooling_mode_max_tokens=False, pooling_mode_mean_sqrt_len_tokens=False)) + "\n")
    (folder / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=MAX_TOKENS, do_lower_case=False)) + "\n")


def vectors(folder, texts):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs=dict(dtype=torch.float32))
    return [[round(float(x), 7) for x in model.encode(text, normalize_embeddings=True)] for text in texts]


def lines(data, count):
    """Instructions in both languages, in turn."""
    files = [Path(data, f"{kind}-{language}.jsonl") for kind in ("seeds", "heldout") for language in ("en", "zh")]
    texts = [[json.loads(line)["instruction"] for line in file.read_text().splitlines() if line.strip()] for file in files]
    return [text for row in zip(*texts) for text in row][:count]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--out")
    arguments.add_argument("--minilm")
    arguments.add_argument("--data", default="examples/data")
    arguments.add_argument("--compare")
    arguments = arguments.parse_args()
    if arguments.compare:
        found = json.loads(Path(arguments.compare).read_text())["texts"]
        model = SentenceTransformer(arguments.minilm, device="cpu", model_kwargs=dict(dtype=torch.float32))
        reference = model.encode([row["text"] for row in found], normalize_embeddings=True)
        cosines = [float(torch.dot(torch.tensor(a), torch.tensor(row["vector"]))) for a, row in zip(reference, found)]
        print(f"{len(cosines)} texts: cosine at least {min(cosines):.8f}, mean {sum(cosines) / len(cosines):.8f}")
        return
    out = Path(arguments.out, "encoder")
    expected = {}
    for name, pooling in (("bert", "mean"), ("roberta", "cls")):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "bert":
            size = write_tokenizer(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[CLS]", "[SEP]")
            config = BertConfig(vocab_size=size, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                                max_position_embeddings=48)
            model, dtype = BertModel(config, add_pooling_layer=True), torch.float32
        else:
            size = write_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<s>", "</s>")
            config = RobertaConfig(vocab_size=size, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=3,
                                   max_position_embeddings=50, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1,
                                   bos_token_id=0, eos_token_id=2)
            model, dtype = RobertaModel(config, add_pooling_layer=False), torch.float16
        write_model(folder, model.eval(), dtype, pooling)
        expected[name] = vectors(folder, TEXTS)
    (out / "vectors.json").write_text(json.dumps(dict(texts=TEXTS, **expected), ensure_ascii=False) + "\n")
    if arguments.minilm:
        texts = lines(arguments.data, 12)
        rows = [json.dumps(dict(text=text, vector=vector), ensure_ascii=False)
                for text, vector in zip(texts, vectors(arguments.minilm, texts))]
        Path(arguments.out, "minilm_vectors.jsonl").write_text("\n".join(rows) + "\n")


main()
