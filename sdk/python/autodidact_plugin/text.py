"""Text helpers that hold for English and Chinese."""

import re

# Unicode's blocks of ideographs and kana, which are written without blanks between words: each character is one token. The last part
# is a run of letters and digits of any other script.
_CJK = "\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff々〇"
_TOKEN = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")
# Unicode's block of full-width forms repeats ASCII's ! to ~ at a fixed distance.
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def fold_width(text):
    """Maps full-width forms (`Ａ`, `：`, `（`, the ideographic blank) to their half-width ones; others stay."""
    return text.translate(_NARROW)


def tokens(text):
    """Cuts a text into tokens: a run of letters and digits, lower-cased, is one; each CJK character is one."""
    return [token.lower() for token in _TOKEN.findall(fold_width(text))]


def count_tokens(text):
    """Counts the tokens of a text, as many as `tokens` gives."""
    return len(_TOKEN.findall(text))


def excerpt(text, max_chars):
    """Cuts a text to at most so many characters for a note, with `…` where something was cut."""
    return text if len(text) <= max_chars else text[:max_chars] + "…"
