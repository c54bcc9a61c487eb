"""Records as plugins see them, and how a batch of them crosses."""

from itertools import repeat

# The texts of a record, in the WIT's order.
FIELDS = ("instruction", "input", "output", "language", "task_type", "topic", "labels")


class Record:
    """One record; texts are empty where there is nothing. A text is decoded when it is asked for, each time: keep what you use twice."""

    __slots__ = ("_text", "_bounds", "_at")

    def __init__(self, text, bounds, at):
        """Shows the record whose first text goes from `bounds[at]` to `bounds[at + 1]`; tests take `Record.of`."""
        self._text = text
        self._bounds = bounds
        self._at = at

    @classmethod
    def of(cls, **texts):
        """Makes a record of its texts, for tests: `Record.of(instruction="Name a river.", language="en")`."""
        unknown = texts.keys() - set(FIELDS)
        if unknown:
            raise TypeError(f"a record has no {', '.join(sorted(unknown))}")
        encoded = [texts.get(field, "").encode() for field in FIELDS]
        bounds = [0]
        for text in encoded:
            bounds.append(bounds[-1] + len(text))
        return cls(b"".join(encoded), bounds, 0)

    # Each is written out: a shared function behind them made a filter's record a tenth dearer.

    @property
    def instruction(self):
        """What to do."""
        at = self._at
        return self._text[self._bounds[at]:self._bounds[at + 1]].decode()

    @property
    def input(self):
        """What to do it to."""
        at = self._at
        return self._text[self._bounds[at + 1]:self._bounds[at + 2]].decode()

    @property
    def output(self):
        """The answer; empty before answers are generated."""
        at = self._at
        return self._text[self._bounds[at + 2]:self._bounds[at + 3]].decode()

    @property
    def language(self):
        """The ISO 639-1 code of the instruction's language, such as `en` or `zh`."""
        at = self._at
        return self._text[self._bounds[at + 3]:self._bounds[at + 4]].decode()

    @property
    def task_type(self):
        """The form of the task, such as `classification` or `open_generation`."""
        at = self._at
        return self._text[self._bounds[at + 4]:self._bounds[at + 5]].decode()

    @property
    def topic(self):
        """What it is about."""
        at = self._at
        return self._text[self._bounds[at + 5]:self._bounds[at + 6]].decode()

    @property
    def labels(self):
        """The labels that a classification may have, one a line."""
        at = self._at
        return self._text[self._bounds[at + 6]:self._bounds[at + 7]].decode()


def records(text, ends):
    """Shows the records of a batch, which is laid out as the WIT says."""
    if len(ends) % len(FIELDS):
        raise ValueError(f"the batch: {len(ends)} texts are no records")
    # Made without a loop in Python, which is a fifth of what a light filter's record costs.
    return list(map(Record, repeat(text), repeat([0, *ends]), range(0, len(ends), len(FIELDS))))
