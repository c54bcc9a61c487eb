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
ATTENTION = dict(layer_types=["full_attention", "full_attention"])
ARCHITECTURES = {
    "deepseek_v2": dict(head_dim=8, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8,
                        v_head_dim=8, n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=24,
                        first_k_dense_replace=1, n_group=1, topk_group=1, tie_word_embeddings=False,
                        rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=64,
                                             beta_fast=32.0, beta_slow=1.0, mscale=0.7, mscale_all_dim=0.7)),
    # candle-transformers computes the tanh form of GELU, whatever the file says.
    "falcon": dict(**LAYER_NORM, activation="gelu_pytorch_tanh", layer_norm_epsilon=1e-5, ffn_hidden_size=128, num_kv_heads=1, multi_query=True, parallel_attn=True,
                   bias=False, alibi=False, new_decoder_architecture=False, tie_word_embeddings=True),
    "gemma": dict(head_dim=8, hidden_activation="gelu_pytorch_tanh", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
    "gemma2": dict(head_dim=8, query_pre_attn_scalar=8, sliding_window=512, tie_word_embeddings=True),
    "glm4": dict(head_dim=8, partial_rotary_factor=0.5, attention_bias=True, tie_word_embeddings=False),
    "gpt_bigcode": dict(**LAYER_NORM, n_embd=32, n_layer=2, n_head=4, n_inner=48, n_positions=512, num_key_value_heads=1,
                        tie_word_embeddings=True),
    "granite": dict(embedding_multiplier=12.0, logits_scaling=6.0, residual_multiplier=0.22, attention_multiplier=0.15,
                    tie_word_embeddings=True),
    "granitemoehybrid": dict(**ATTENTION, embedding_multiplier=12.0, logits_scaling=6.0, residual_multiplier=0.22,
                             attention_multiplier=0.15, num_local_experts=0, shared_intermediate_size=48,
                             position_embedding_type="rope", mamba_n_heads=8, mamba_d_head=8, tie_word_embeddings=True),
    "helium": dict(head_dim=8, tie_word_embeddings=False),
    "lfm2": dict(**LAYER_NORM, norm_eps=1e-5, num_hidden_layers=3, intermediate_size=192, block_multiple_of=16,
                 layer_types=["conv", "full_attention", "conv"], tie_word_embeddings=True),
    "mamba": dict(**LAYER_NORM, intermediate_size=64, time_step_rank=2, tie_word_embeddings=True),
    "mamba2": dict(**LAYER_NORM, intermediate_size=64, num_heads=8, head_dim=8, n_groups=1, state_size=16, chunk_size=16,
                   tie_word_embeddings=True),
    "mixtral": dict(head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=None, tie_word_embeddings=False),
    "olmo": dict(**LAYER_NORM, tie_word_embeddings=False),
    "olmo2": dict(tie_word_embeddings=False),
    "phi": dict(**LAYER_NORM, num_key_value_heads=4, tie_word_embeddings=False),
    "qwen2_moe": dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=32, tie_word_embeddings=False),
    "qwen3_moe": dict(head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, tie_word_embeddings=False),
    # A width whose root bf16 has, since transformers rounds it to that and candle-transformers does not.
    "recurrent_gemma": dict(hidden_size=64, num_hidden_layers=3, head_dim=16, num_key_value_heads=1, lru_width=64, attention_window_size=64,
                            tie_word_embeddings=True),
    "smollm3": dict(num_hidden_layers=4, no_rope_layer_interval=4, tie_word_embeddings=True),
    "stablelm": dict(**LAYER_NORM, layer_norm_eps=1e-5, rope_parameters=dict(rope_theta=10000.0, partial_rotary_factor=0.5, rope_type="default"),
                     use_qkv_bias=True, tie_word_embeddings=False),
    "starcoder2": dict(**LAYER_NORM, tie_word_embeddings=True, use_bias=True, sliding_window=None),
}


def draw(model):
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if ("norm" in name or "ln_" in name) and name.endswith("weight"):
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
