#!/usr/bin/env python3
"""Writes lines of two ASCII texts and the ROUGE-L F measure that rouge_score 0.1.2 gives them, with tabs between.

usage: pip install rouge-score==0.1.2; make_ascii.py COUNT SEED > ascii.tsv    (ascii.tsv: 1000 20240601)

Texts are drawn like instructions: 3 to 20 words, a few many more, the frequent ones often, joined by what stands between words. Half of the
second ones are the first with words changed, so that scores are spread over 0 to 1.
"""
import random
import sys

from rouge_score import rouge_scorer

VERBS = "write name list explain describe compare sort find give suggest rewrite translate count draft choose plan".split()
NOUNS = "poem river city letter recipe rule number word story bird lamp window garden train song cup clock bridge market island".split()
SMALL = "a the of to in for and with on at that is it as two three one how why which 7 12 3rd".split()
RARE = [f"{first}{last}" for first in "bar con del fer gal mor pen ron sul tam".split() for last in "ax elo ino ute ock".split()]
BETWEEN = [" "] * 12 + ["  ", ", ", "-", "_", ". ", "'", "? ", " & ", " / "]


def words(draw, count):
    kinds = draw.choices([SMALL, NOUNS, VERBS, RARE], weights=[5, 3, 1, 2], k=count)
    return [draw.choice(kind) for kind in kinds]


def changed(draw, text):
    text = list(text)
    for _ in range(draw.randint(0, 2 + len(text) // 2)):
        at = draw.randrange(len(text))
        kind = draw.randrange(5)
        if kind == 0 and len(text) > 1:
            del text[at]
        elif kind == 1:
            text.insert(at, draw.choice(SMALL + NOUNS))
        elif kind == 2:
            text[at] = draw.choice(RARE)
        elif kind == 3:
            other = draw.randrange(len(text))
            text[at], text[other] = text[other], text[at]
        else:
            text[at] = text[at].upper()
    return text


def joined(draw, text):
    parts = [text[0].capitalize() if draw.random() < 0.5 else text[0]]
    for word in text[1:]:
        parts += [draw.choice(BETWEEN), word]
    return "".join(parts) + draw.choice([".", "?", "!", "", "..."])


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(seed)
    for _ in range(count):
        first = words(draw, draw.randint(3, 20) if draw.random() < 0.97 else draw.randint(60, 150))
        second = changed(draw, first) if draw.random() < 0.5 else words(draw, draw.randint(3, 20))
        first, second = joined(draw, first), joined(draw, second)
        score = float(scorer.score(first, second)["rougeL"].fmeasure)
        print(first, second, repr(score), sep="\t")


main()
