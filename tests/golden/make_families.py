#!/usr/bin/env python3
"""Writes families/: a tiny random model of each decoder family, in Hugging Face layout and as GGUF, with reference logits.

usage: make_families.py --out tests/golden/families

Weights are drawn anew for each family with a fixed seed, rounded to the type they are stored in, and run by transformers in f32.
The GGUF holds the same numbers as f16 or f32; rows of q and k are interleaved for llama as its converters do.
"""
import argparse
import copy
import json
import math
from pathlib import Path

import gguf
import numpy
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

VOCABULARY, LENGTHS, SHOWN = 272, (5, 21, 44), 48
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, bos_token_id=256, eos_token_id=257,
             pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)

# name -> (model type, what differs, stored type, shards)
FAMILIES = {
    "llama3": ("llama", dict(rope_parameters=dict(rope_theta=500.0, **LLAMA3), tie_word_embeddings=False), torch.float16, 1),
    "mistral": ("mistral", dict(sliding_window=12, head_dim=16, tie_word_embeddings=False), torch.bfloat16, 2),
    "qwen2": ("qwen2", dict(tie_word_embeddings=True), torch.float16, 1),
    "qwen3": ("qwen3", dict(head_dim=16, tie_word_embeddings=True), torch.float32, 1),
    "gemma3": ("gemma3_text", dict(num_hidden_layers=3, head_dim=16, query_pre_attn_scalar=24, sliding_window=12,
                                   layer_types=["sliding_attention", "sliding_attention", "full_attention"],
                                   rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                                        sliding_attention=dict(rope_type="default", rope_theta=1e4)),
                                   tie_word_embeddings=True), torch.bfloat16, 1),
    "phi3": ("phi3", dict(sliding_window=12, tie_word_embeddings=False, original_max_position_embeddings=512), torch.float16, 1),
    "phi3_long": ("phi3", dict(sliding_window=12, tie_word_embeddings=False, original_max_position_embeddings=64,
                               rope_parameters=dict(rope_type="longrope", rope_theta=1e4, short_factor=[1.0, 1.1, 1.25, 1.5],
                                                    long_factor=[2.0, 3.0, 5.0, 7.0], original_max_position_embeddings=64)),
                  torch.float16, 1),
}
# A folder that also sees: its text part, with what its configuration leaves out.
SEEING = dict(text=dict(num_hidden_layers=6, head_dim=16, sliding_window=12, query_pre_attn_scalar=24, num_attention_heads=8,
                        num_key_value_heads=4, rms_norm_eps=1e-6, tie_word_embeddings=True,
                        rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                             sliding_attention=dict(rope_type="default", rope_theta=1e4))),
              vision=dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14))
# GGUF knows the shape of gemma3's layers by its architecture alone, so its GGUF twin is the real model's to test.
AS_GGUF = {"llama3": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "phi3_long": "phi3"}
NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
         "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def byte_letters():
    """The 256 letters that stand for bytes in byte-level vocabularies (openai/gpt-2, encoder.py)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]


def vocabulary():
    """Bytes, special tokens, and one merged token, since a byte-level vocabulary without merges is none."""
    return byte_letters() + [f"<|special_{i}|>" for i in range(VOCABULARY - 257)] + ["th"]


def write_tokenizer(folder):
    texts = vocabulary()
    added = [dict(id=i, content=texts[i], single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i in range(256, VOCABULARY - 1)]
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer = dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None, pre_tokenizer=byte_level,
                     post_processor=None, decoder=byte_level,
                     model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                                fuse_unk=False, byte_fallback=False, ignore_merges=False,
                                vocab={text: i for i, text in enumerate(texts) if text == "th" or i < 256}, merges=[["t", "h"]]))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n")


def draw(model, dtype):
    """Random weights, big enough that logits differ, rounded to the stored type."""
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name:
            base = 0.0 if model.config.model_type.startswith("gemma3") else 1.0
            weight.data = base + 0.2 * noise
        else:
            weight.data = noise * (0.5 if name.endswith("bias") else weight.shape[-1] ** -0.5)
        weight.data = weight.data.to(dtype).to(torch.float32)


def save(model, folder, dtype, shards):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: weight.data.to(dtype).contiguous() for name, weight in model.named_parameters()}
    names = sorted(tensors)
    parts = [names[i::shards] for i in range(shards)]
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        files = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        for file, part in zip(files, parts):
            save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": {name: file for file, part in zip(files, parts) for name in part}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    write_tokenizer(folder)


def interleave(weight, heads):
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def write_gguf(model, path, architecture):
    config = model.config
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if architecture == "phi3":
        writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary())
    writer.add_token_types([1] * 256 + [3] * (VOCABULARY - 257) + [1])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    other = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    for name, weight in model.named_parameters():
        data = weight.data.numpy()
        if name in other:
            target = other[name]
        else:
            _, _, layer, rest = name.split(".", 3)
            part, kind = rest.rsplit(".", 1)
            target = f"blk.{layer}.{NAMES[part]}.{kind}"
            if architecture == "llama" and part.endswith(("q_proj", "k_proj")):
                data = interleave(data, config.num_attention_heads if part.endswith("q_proj") else config.num_key_value_heads)
        exact = data.astype(numpy.float16).astype(numpy.float32)
        as_half = data.ndim == 2 and (exact == data).all()
        writer.add_tensor(target, data.astype(numpy.float16 if as_half else numpy.float32))
    if architecture == "llama":
        inverse = model.model.rotary_emb.inv_freq.numpy()
        plain = config.rope_parameters["rope_theta"] ** (-numpy.arange(0, head_dim, 2) / head_dim)
        writer.add_tensor("rope_freqs.weight", (plain / inverse).astype(numpy.float32))
    if config.rope_parameters["rope_type"] == "longrope":
        rope = config.rope_parameters
        scale = config.max_position_embeddings / rope["original_max_position_embeddings"]
        writer.add_rope_scaling_type(gguf.RopeScalingType.LONGROPE)
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(rope["original_max_position_embeddings"])))
        for kind in ("short", "long"):
            writer.add_tensor(f"rope_factors_{kind}.weight", numpy.array(rope[f"{kind}_factor"], dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def reference(name, model):
    """Logits at some positions of some texts."""
    generator = torch.Generator().manual_seed(11)
    prompts = []
    for length in LENGTHS:
        ids = torch.randint(0, 256, (1, length), generator=generator)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0]
        at = sorted({0, length // 2, length - 2, length - 1})
        prompts.append({"ids": ids[0].tolist(), "logits": {i: [round(x, 6) for x in logits[i, :SHOWN].tolist()] for i in at}})
    print(name, sum(p.numel() for p in model.parameters()), "parameters, logits in", round(logits.min().item(), 2), round(logits.max().item(), 2))
    return prompts


def save_seeing(folder):
    """A tiny Gemma 3 with its eyes, laid out as the published ones are."""
    text = {**SHAPE, **SEEING["text"]}
    config = Gemma3Config(text_config=text, vision_config=SEEING["vision"], mm_tokens_per_image=4, image_token_index=258,
                          boi_token_index=259, eoi_token_index=260, eos_token_id=257, bos_token_id=256)
    config._attn_implementation = "eager"
    model = Gemma3ForConditionalGeneration(config).eval()
    draw(model, torch.bfloat16)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    default = Gemma3TextConfig().to_dict()
    saved["text_config"] = {key: value for key, value in saved["text_config"].items() if key not in default or default[key] != value}
    path.write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_tokenizer(folder)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    golden = {}
    for name, (kind, changes, dtype, shards) in FAMILIES.items():
        config = AutoConfig.for_model(kind, **{**SHAPE, **changes})
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
        draw(model, dtype)
        folder = out / name
        save(model, folder, dtype, shards)
        if name in AS_GGUF:
            write_gguf(model, folder / "model.gguf", AS_GGUF[name])
        golden[name] = reference(name, model)
    model = save_seeing(out / "gemma3_seeing")
    golden["gemma3_seeing"] = reference("gemma3_seeing", model)
    (out / "logits.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
