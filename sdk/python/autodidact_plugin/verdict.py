"""What plugins say of records."""


class Decision:
    """Keep or drop, with what it rests on; `keep` and `drop` make it."""

    # The names are those of the WIT's record, so that the host's bindings read a decision as it is.
    __slots__ = ("drop_reason", "note", "score")

    def __init__(self, drop_reason, note, score):
        self.drop_reason = drop_reason
        self.note = note
        self.score = score

    def __repr__(self):
        return f"Decision({self.drop_reason!r}, {self.note!r}, {self.score!r})"


class Correction:
    """A better answer to the same task; `correct` makes it."""

    __slots__ = ("output", "note")

    def __init__(self, output, note):
        self.output = output
        self.note = note


class Score:
    """What a record is worth: a finite number, or None where it cannot be told, and what it rests on in words for people."""

    __slots__ = ("value", "note")

    def __init__(self, value, note=None):
        self.value = None if value is None else float(value)
        self.note = _text_or_none(note, "note")


_KEPT = Decision(None, None, None)


def keep(note=None, score=None):
    """Lets a record go on."""
    if note is None and score is None:
        return _KEPT
    return Decision(None, _text_or_none(note, "note"), None if score is None else float(score))


def drop(reason, note=None, score=None):
    """Drops a record for a stable reason: snake case, at most 64 bytes, starting with a letter. The score is the number that crossed a
    threshold; it must be finite."""
    if type(reason) is not str:
        raise TypeError(f"a reason is a text, not {reason!r}")
    return Decision(reason, _text_or_none(note, "note"), None if score is None else float(score))


def accept():
    """Lets an answered record go on as it is."""
    return _KEPT


def correct(output, note=None):
    """Lets a record go on with another answer; the first one is kept beside it."""
    if type(output) is not str:
        raise TypeError(f"an answer is a text, not {output!r}")
    return Correction(output, _text_or_none(note, "note"))


def _text_or_none(text, name):
    if text is None or type(text) is str:
        return text
    raise TypeError(f"a {name} is a text, not {text!r}")
