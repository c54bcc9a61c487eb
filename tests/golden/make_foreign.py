#!/usr/bin/env python3
"""Writes foreign/: tiny random models of architectures that candle-transformers runs, with transformers' logits.

usage: make_foreign.py --out tests/golden/foreign
"""
import argparse
import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from make_families import LENGTHS, SHAPE, SHOWN, save

LAYER_NORM = dict(rms_norm_eps=None)
ARCHITECTURES = {
    "gemma": dict(head_dim=8, hidden_activation="gelu_pytorch_tanh", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
    "gemma2": dict(head_dim=8, query_pre_attn_scalar=8, sliding_window=512, tie_word_embeddings=True),
    "glm4": dict(head_dim=8, partial_rotary_factor=0.5, attention_bias=True, tie_word_embeddings=False),
    "helium": dict(head_dim=8, tie_word_embeddings=False),
    "mixtral": dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=None, tie_word_embeddings=False),
    "olmo": dict(**LAYER_NORM, tie_word_embeddings=False),
    "olmo2": dict(tie_word_embeddings=False),
    "phi": dict(**LAYER_NORM, num_key_value_heads=4, tie_word_embeddings=False),
    "qwen2_moe": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=32, tie_word_embeddings=False),
    "qwen3_moe": dict(head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, tie_word_embeddings=False),
    "smollm3": dict(num_hidden_layers=4, no_rope_layer_interval=4, tie_word_embeddings=True),
    "starcoder2": dict(**LAYER_NORM, tie_word_embeddings=True, use_bias=True, sliding_window=None),
}


def draw(model):
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            base = 0.0 if model.config.model_type.startswith("gemma") else 1.0
            weight.data = base + 0.2 * noise
        elif name.endswith("bias"):
            weight.data = 0.5 * noise
        else:
            weight.data = noise * weight.shape[-1] ** -0.5
        weight.data = weight.data.to(torch.float16).to(torch.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    golden = {}
    for name, changes in ARCHITECTURES.items():
        shape = {key: value for key, value in {**SHAPE, **changes}.items() if not (key == "rms_norm_eps" and value is None)}
        config = AutoConfig.for_model(name, **shape)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
        draw(model)
        save(model, out / name, torch.float16, 1)
        if any("experts" in key for key, _ in model.named_parameters()):
            # In memory the experts of a layer are one tensor; files have each for itself.
            half = copy.deepcopy(model).to(torch.float16)
            with tempfile.TemporaryDirectory() as folder:
                half.save_pretrained(folder)
                shutil.copy(Path(folder) / "model.safetensors", out / name / "model.safetensors")
        generator = torch.Generator().manual_seed(11)
        prompts = []
        for length in LENGTHS:
            ids = torch.randint(0, 256, (1, length), generator=generator)
            with torch.no_grad():
                logits = model(ids, use_cache=False).logits[0]
            at = sorted({0, length // 2, length - 2, length - 1})
            prompts.append({"ids": ids[0].tolist(), "logits": {i: [round(x, 6) for x in logits[i, :SHOWN].tolist()] for i in at}})
        golden[name] = prompts
        print(name, sum(p.numel() for p in model.parameters()), "parameters, logits in", round(logits.min().item(), 2), round(logits.max().item(), 2))
    (out / "logits.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
