#!/usr/bin/env python3
"""Writes pairs.jsonl: ASCII text pairs with the ROUGE-L F measure that rouge_score 0.1.2 gives them.

usage: pip install rouge-score==0.1.2; make_rouge.py SEEDS.jsonl > pairs.jsonl    (SEEDS: examples/data/seeds-en.jsonl)
"""
import json
import random
import sys

from rouge_score import rouge_scorer

scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
draw = random.Random(20240501)
texts = []
for line in open(sys.argv[1], encoding="utf-8"):
    record = json.loads(line)
    texts += [t for t in (record["instruction"], record["instances"][0]["output"]) if t.isascii() and t]


def mutate(text):
    """Drops, doubles, swaps or upper-cases some words."""
    words = text.split()
    for _ in range(draw.randint(1, 4)):
        i = draw.randrange(len(words))
        kind = draw.randrange(4)
        if kind == 0 and len(words) > 1:
            del words[i]
        elif kind == 1:
            words.insert(i, words[i])
        elif kind == 2:
            j = draw.randrange(len(words))
            words[i], words[j] = words[j], words[i]
        else:
            words[i] = words[i].upper()
    return draw.choice([" ", "  ", "\n", "-", "_"]).join(words)


def noise():
    """Any printable ASCII."""
    return "".join(chr(draw.randint(32, 126)) for _ in range(draw.randint(0, 120)))


pairs = [("", ""), ("a", ""), ("", "a"), ("...", "!?"), ("a", "a"), ("A-b_C", "a b c"), ("x" * 70, "x" * 70), ("it's", "its")]
for _ in range(80):
    text = draw.choice(texts)
    pairs.append((text, mutate(text)))
for _ in range(60):
    pairs.append((draw.choice(texts), draw.choice(texts)))
for _ in range(30):
    pairs.append((noise(), noise()))
for _ in range(30):  # longer than one and two machine words
    few = draw.randint(2, 12)
    pairs.append(tuple(" ".join(f"w{draw.randrange(few)}" for _ in range(draw.randint(40, 200))) for _ in "ab"))
for a, b in pairs:
    print(json.dumps({"a": a, "b": b, "score": float(scorer.score(a, b)["rougeL"].fmeasure)}))
