#!/usr/bin/env python3
"""Times LoRA steps of PEFT on PyTorch, on this machine's processor, on a random model of SmolLM2-135M's shape.

usage: peft_train.py [--targets q_proj,v_proj] [--batch 4] [--seq 256] [--steps 6] [--threads 2] [--autocast] [--checkpointing]

Every token carries loss, as in `autodidact bench train`. The first step is not counted. --autocast computes in bf16.
"""
import argparse
import contextlib
import resource
import statistics
import time

import peft
import torch
import transformers

# HuggingFaceTB/SmolLM2-135M-Instruct, config.json.
SHAPE = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
             max_position_embeddings=8192, rope_theta=100000, tie_word_embeddings=True, use_cache=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default="q_proj,v_proj")
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    for name, default in (("batch", 4), ("seq", 256), ("steps", 6), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wish = parser.parse_args()
    torch.set_num_threads(wish.threads)
    torch.manual_seed(1)
    base = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**SHAPE), dtype=torch.float32)
    lora = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=wish.targets.split(","), task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, lora).train()
    if wish.checkpointing:
        model.enable_input_require_grads()
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    rates = []
    for step in range(wish.steps):
        # One token more than is read: the last is a target alone.
        tokens = torch.randint(0, SHAPE["vocab_size"], (wish.batch, wish.seq + 1))
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16) if wish.autocast else contextlib.nullcontext():
            logits = model(input_ids=tokens[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step > 0:
            rates.append(wish.batch * wish.seq / (time.perf_counter() - began))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    kind = "bf16 autocast" if wish.autocast else "f32"
    kind += ", checkpointing" if wish.checkpointing else ""
    print(f"PEFT {peft.__version__}, PyTorch {torch.__version__}, {kind}: {statistics.median(rates):.1f} tokens/s, at most {peak} MiB")


if __name__ == "__main__":
    main()
