#!/usr/bin/env python3
"""Adds to methods/: PEFT's adapters with the head of a task, and ten steps of training from each.

usage: make_heads.py --golden tests/golden [CASE...]

The files are make_methods.py's. The model is transformers' for the task on a small base: sequence classification (a label by the
state of the last token) or token classification (a label by every token's state). Batches have `labels`: a class a row, or a class
a token, with -100 where there is none. The dropout before the head of token classification, 0.1 by default, is 0.
`head_logits` are those of the prompt with the first adapter: of its last token, or of all tokens one after the other.
PEFT 0.21.2 refuses prefix tuning here ("Model does not support past key values"), so there is no such case.
Full training begins with the base and a drawn head: `init.safetensors` has what is trained as it is before the first step.
"""
import json

import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

import ten_steps
from ten_steps import CLIP_NORM, IGNORED, PEAK_RATE, ROWS, WEIGHT_DECAY, WIDTH, draw, draw_prompt, make_cases, save, train

LABELS = 3
LABEL_NAMES = {number: f"LABEL_{number}" for number in range(LABELS)}
AUTO = {"SEQ_CLS": AutoModelForSequenceClassification, "TOKEN_CLS": AutoModelForTokenClassification}

# name: the base's folder in tests/golden, and PEFT's configuration or the task of full training
CASES = {
    "seq_cls_lora": ("families/llama3", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="SEQ_CLS")),
    "seq_cls_gemma": ("families/gemma3", LoraConfig(
        r=2, lora_alpha=8, target_modules="all-linear", task_type="SEQ_CLS")),
    "seq_cls_ia3": ("families/qwen2", IA3Config(
        target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="SEQ_CLS")),
    "seq_cls_prompt": ("families/llama3", PromptTuningConfig(
        num_virtual_tokens=5, prompt_tuning_init="RANDOM", task_type="SEQ_CLS")),
    "seq_cls_full": ("families/qwen2", "SEQ_CLS"),
    "token_cls_lora": ("families/llama3", LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="TOKEN_CLS")),
    "token_cls_qwen3": ("families/qwen3", LoraConfig(
        r=2, lora_alpha=8, target_modules=["o_proj", "up_proj"], task_type="TOKEN_CLS")),
    "token_cls_prompt": ("families/mistral", PromptTuningConfig(
        num_virtual_tokens=5, prompt_tuning_init="RANDOM", task_type="TOKEN_CLS")),
}


def make_batches(task, vocabulary, generator):
    """Two batches of rows of one length, since a row with virtual tokens is classified by its last state, padded or not."""
    def numbers(top, count):
        return torch.randint(0, top, (count,), generator=generator).tolist()

    batches = []
    for _ in range(2):
        ids = [torch.randint(3, vocabulary, (WIDTH,), generator=generator).tolist() for _ in range(ROWS)]
        labels = numbers(LABELS, ROWS)
        if task == "TOKEN_CLS":
            labels = [[label if place % 2 else IGNORED for place, label in enumerate(numbers(LABELS, WIDTH))] for _ in range(ROWS)]
        batches.append({"input_ids": ids, "attention_mask": [[1] * WIDTH] * ROWS, "labels": labels})
    return batches


def loss_of(model, batch):
    """The mean over the labels; those of virtual tokens, which come first, are left out."""
    logits = model(**{**batch, "labels": None}, use_cache=False).logits
    if logits.dim() == 3:
        logits = logits[:, -WIDTH:].flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits, batch["labels"].flatten(), ignore_index=IGNORED)


def make(golden, name, base, config):
    generator = torch.Generator().manual_seed(len(name))
    torch.manual_seed(len(name))
    folder = golden / "methods" / name
    folder.mkdir(parents=True, exist_ok=True)
    full = isinstance(config, str)
    task = config if full else config.task_type
    settings = AutoConfig.from_pretrained(golden / base, num_labels=LABELS, id2label=LABEL_NAMES, pad_token_id=0)
    settings.classifier_dropout = 0.0
    model = AUTO[task].from_pretrained(golden / base, config=settings, dtype=torch.float32, attn_implementation="eager").eval()
    if not full:
        model = get_peft_model(model, config, autocast_adapter_dtype=False)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if full:
        save(trained, folder / "init.safetensors")
    else:
        draw(trained, generator)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
    vocabulary = model.config.vocab_size
    prompt = draw_prompt(vocabulary, generator)
    with torch.no_grad():
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0]
        logits = logits[-len(prompt):] if task == "TOKEN_CLS" else logits
    batches = make_batches(task, vocabulary, generator)
    ten_steps.loss_of = loss_of
    steps = train(model, trained, batches, PEAK_RATE / 10 if full else PEAK_RATE)
    save(trained if full else get_peft_model_state_dict(model), folder / "final.safetensors")
    (folder / "steps.json").write_text(json.dumps({
        "base": base, "task_type": task, "weight_decay": WEIGHT_DECAY, "max_grad_norm": CLIP_NORM, "prompt_ids": prompt,
        "head_logits": [round(x, 6) for x in logits.flatten().tolist()], "batches": batches, "steps": steps,
    }) + "\n")
    print(name, [round(s["loss"], 4) for s in steps], sorted(n for n in trained if "score" in n), len(trained))


if __name__ == "__main__":
    make_cases(__doc__, CASES, make)
