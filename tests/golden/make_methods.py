#!/usr/bin/env python3
"""Writes methods/: PEFT's own adapters of small models, and ten steps of training from each.

usage: make_methods.py --golden tests/golden [CASE...]

A case is a folder: `adapter_config.json` and `adapter_model.safetensors` as PEFT saves them before the first step,
`final.safetensors` after the last, and `steps.json` with the batches, the losses and norms of every step, and the logits of one
prompt with the first adapter. Everything is f32; dropout is 0.

Two kinds of case differ. A projected prefix is saved by PEFT as the projection's result alone, so `encoder_init.safetensors` and
`encoder_final.safetensors` hold the tensors that are trained, with PEFT's own names. Full training begins with the base itself:
there is only `final.safetensors`, with the trained tensors by Hugging Face's names, and `steps.json` has the `patterns` that
name them.

Weight decay is on what transformers' Trainer decays: every trained tensor with neither `bias` nor a norm in its name. So LoRA's,
DoRA's and IA3's tensors are decayed, virtual tokens, prefixes, the projection's weights, embeddings, `lm_head` and linear
weights too, but no norm and no bias.
"""
import json
import re

import torch
from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

from ten_steps import CLIP_NORM, PEAK_RATE, WEIGHT_DECAY, check_padding, draw, draw_prompt, last_logits, make_batches, make_cases, save, train

FULL_PEAK_RATE = 1e-3

# name: the base's folder in tests/golden, and PEFT's configuration
CASES = {
    "lora_patterns": ("families/llama3", LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "down_proj"], use_rslora=True,
        rank_pattern={"k_proj": 2, r"layers.1.mlp.down_proj": 3}, alpha_pattern={"q_proj": 9}, task_type="CAUSAL_LM")),
    "lora_regex": ("families/qwen3", LoraConfig(
        r=3, lora_alpha=6, target_modules=r".*layers\.1\..*\.(q|v|up)_proj", task_type="CAUSAL_LM")),
    "lora_all_linear": ("families/gemma3", LoraConfig(r=2, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")),
    "lora_bias": ("families/qwen2", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "o_proj"], bias="all", task_type="CAUSAL_LM")),
    "lora_only_bias": ("families/qwen2", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], bias="lora_only", task_type="CAUSAL_LM")),
    "dora": ("families/llama3", LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM")),
    "dora_biased": ("families/qwen2", LoraConfig(
        r=2, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_dora=True, task_type="CAUSAL_LM")),
    "ia3": ("families/llama3", IA3Config(task_type="CAUSAL_LM")),
    "ia3_biased": ("families/qwen2", IA3Config(
        target_modules=["q_proj", "v_proj", "o_proj", "down_proj"], feedforward_modules=["o_proj", "down_proj"],
        task_type="CAUSAL_LM")),
    "lora_modules_to_save": ("families/llama3", LoraConfig(
        r=2, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], task_type="CAUSAL_LM")),
    # PEFT goes by the end of a module's name, whatever is before it: `norm` takes every norm of the model.
    "lora_norms_to_save": ("families/gemma3", LoraConfig(
        r=2, lora_alpha=8, target_modules=["down_proj"], modules_to_save=["input_layernorm", "norm"], task_type="CAUSAL_LM")),
    "lora_linear_to_save": ("families/qwen2", LoraConfig(
        r=2, lora_alpha=8, target_modules=["q_proj"], modules_to_save=["o_proj", "k_proj"], task_type="CAUSAL_LM")),
    "prompt": ("families/llama3", PromptTuningConfig(num_virtual_tokens=5, prompt_tuning_init="RANDOM", task_type="CAUSAL_LM")),
    "prompt_gemma": ("families/gemma3", PromptTuningConfig(
        num_virtual_tokens=5, prompt_tuning_init="RANDOM", task_type="CAUSAL_LM")),
    "prefix": ("families/llama3", PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "prefix_biased": ("families/qwen2", PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "prefix_qwen3": ("families/qwen3", PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "prefix_mistral": ("families/mistral", PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "prefix_gemma": ("families/gemma3", PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")),
    "prefix_projection": ("families/llama3", PrefixTuningConfig(
        num_virtual_tokens=4, prefix_projection=True, encoder_hidden_size=12, task_type="CAUSAL_LM")),
    # Without an adapter: the patterns that a trained parameter's name has to hold one of.
    "full": ("families/qwen2", [".*"]),
    "full_untied": ("families/llama3", [".*"]),
    "full_patterns": ("families/gemma3", [r"layers\.1\.mlp\.", r"^model\.norm\."]),
}


def make(golden, name, base, config):
    generator = torch.Generator().manual_seed(len(name))
    torch.manual_seed(len(name))
    folder = golden / "methods" / name
    folder.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(golden / base, dtype=torch.float32, attn_implementation="eager").eval()
    full = isinstance(config, list)
    if full:
        for parameter, tensor in model.named_parameters():
            tensor.requires_grad_(any(re.search(pattern, parameter) for pattern in config))
    else:
        model = get_peft_model(model, config, autocast_adapter_dtype=False)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    projected = getattr(config, "prefix_projection", False)
    if not full:
        draw(trained, generator)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
    if projected:
        save(trained, folder / "encoder_init.safetensors")
    vocabulary = model.config.vocab_size
    prompt = draw_prompt(vocabulary, generator)
    logits = last_logits(model, prompt)
    batches = make_batches(vocabulary, generator)
    check_padding(model, batches[0])
    steps = train(model, trained, batches, FULL_PEAK_RATE if full else PEAK_RATE)
    save(trained if full else get_peft_model_state_dict(model), folder / "final.safetensors")
    if projected:
        save(trained, folder / "encoder_final.safetensors")
    (folder / "steps.json").write_text(json.dumps({
        "base": base, **({"patterns": config} if full else {}), "weight_decay": WEIGHT_DECAY, "max_grad_norm": CLIP_NORM,
        "prompt_ids": prompt, "last_logits": logits, "batches": batches, "steps": steps,
    }) + "\n")
    print(name, [round(s["loss"], 4) for s in steps], sorted(trained)[:3], len(trained))


if __name__ == "__main__":
    make_cases(__doc__, CASES, make)
