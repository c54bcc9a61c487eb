#!/usr/bin/env python3
"""Writes pairs.jsonl: English, Chinese and other text pairs with sacrebleu 2.6.0's sentence-level chrF2.

usage: pip install sacrebleu==2.6.0; make_chrf.py > pairs.jsonl
"""
import json

from sacrebleu.metrics import CHRF

PAIRS = [
    ("The museum opens at ten.", "The museum opens at ten."),
    ("The museum opens at nine.", "The museum opens at ten."),
    ("the museum opens at ten", "The museum opens at ten."),
    ("El museo abre a las once.", "El museo abre a las diez."),
    ("It is hot today.", "It is very hot today."),
    ("What time does the last bus leave?", "When is the last bus?"),
    ("My bicycle has a flat tyre.", "Mein Fahrrad hat einen Platten."),
    ("La bibliothèque est fermée dimanche", "La bibliothèque est fermée le dimanche."),
    ("Completely unrelated words", "明天大概会下雪。"),
    ("明天可能下雪。", "明天大概会下雪。"),
    ("谢谢。", "谢谢您。"),
    ("谢谢您", "谢谢您。"),
    ("会议 推迟到 下周二", "会议已推迟到下周二。"),
    ("自己不想做的事，不要强加给别人。", "自己不愿意的事，不要强加给别人。"),
    ("図書館は何時に閉まる", "図書館は何時に閉まりますか。"),
    ("书", "书"),
    ("书", "图书"),
    ("ab", "abc"),
    ("a", "b"),
    ("", "reference"),
    ("hypothesis", ""),
    ("aaaa", "aaaaaaaa"),
    ("tabs\tand\nlines", "tabs and lines"),
    ("non\u00a0breaking\u3000blanks", "non breaking blanks"),
    ("No Parking；駐車禁止", "No parking / 駐車禁止"),
    ("😀 smile", "smile 😀"),
]
chrf = CHRF()
for hypothesis, reference in PAIRS:
    score = chrf.sentence_score(hypothesis, [reference]).score
    print(json.dumps({"a": hypothesis, "b": reference, "score": float(score)}, ensure_ascii=False))
