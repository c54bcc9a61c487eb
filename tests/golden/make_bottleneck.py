#!/usr/bin/env python3
"""Writes AdapterHub's bottleneck adapters of small models to methods/, and ten steps of training from each.

usage: make_bottleneck.py --golden tests/golden [CASE...]

A case is a folder: `adapter_config.json` and `adapter.safetensors` as the adapters library saves them before the first step,
`final.safetensors` after the last, and `steps.json` as make_methods.py has it. Everything is f32; dropout is 0. Weights are
decayed, biases are not. The library wants an older transformers than PEFT does, so it has an environment of its own.
"""
import json
import tempfile
from pathlib import Path

import adapters
import torch
from adapters import DoubleSeqBnConfig, SeqBnConfig
from transformers import AutoConfig, AutoModelForCausalLM

from ten_steps import CLIP_NORM, WEIGHT_DECAY, check_padding, draw, draw_prompt, last_logits, make_batches, make_cases, save, train

# name: the base's folder in tests/golden, and the library's configuration; 32 wide, so the bottlenecks are 4 and 5
CASES = {
    "houlsby": ("families/llama3", DoubleSeqBnConfig(reduction_factor=8)),
    "pfeiffer": ("families/llama3", SeqBnConfig(reduction_factor=8)),
    "pfeiffer_mistral": ("families/mistral", SeqBnConfig(reduction_factor=6)),
}


def load(folder):
    """The base; transformers 4 has the rope's settings by other names and would pass over these."""
    config = AutoConfig.from_pretrained(folder)
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    config.rope_theta = rope.pop("rope_theta")
    config.rope_scaling = rope if rope["rope_type"] != "default" else None
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager")


def check_base(golden, base, model):
    """This transformers computes the base as that of make_families.py does."""
    with torch.no_grad():
        for prompt in json.loads((golden / "families" / "logits.json").read_text())[Path(base).name]:
            logits = model(torch.tensor([prompt["ids"]]), use_cache=False).logits[0]
            for position, wanted in prompt["logits"].items():
                got = logits[int(position), :len(wanted)]
                assert (got - torch.tensor(wanted)).abs().max() < 1e-5, f"{base} is another model here"


def make(golden, name, base, config):
    generator = torch.Generator().manual_seed(len(name))
    torch.manual_seed(len(name))
    folder = golden / "methods" / name
    model = load(golden / base)
    check_base(golden, base, model)
    adapters.init(model)
    model.config.name_or_path = base  # what is saved as the model's name
    model.add_adapter(name, config=config)
    model.train_adapter(name)
    model.eval()
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    draw(trained, generator)
    model.save_adapter(folder, name, with_head=False, use_safetensors=True)
    vocabulary = model.config.vocab_size
    prompt = draw_prompt(vocabulary, generator)
    logits = last_logits(model, prompt)
    batches = make_batches(vocabulary, generator)
    check_padding(model, batches[0])
    steps = train(model, trained, batches)
    with tempfile.TemporaryDirectory() as last:
        model.save_adapter(last, name, with_head=False, use_safetensors=True)
        (Path(last) / "adapter.safetensors").replace(folder / "final.safetensors")
    (folder / "steps.json").write_text(json.dumps({
        "base": base, "weight_decay": WEIGHT_DECAY, "max_grad_norm": CLIP_NORM, "prompt_ids": prompt, "last_logits": logits,
        "batches": batches, "steps": steps,
    }) + "\n")
    print(name, [round(s["loss"], 4) for s in steps], sorted(trained)[:3], len(trained))


if __name__ == "__main__":
    make_cases(__doc__, CASES, make)
