"""Writes Autodidact plugins in Python: a class, one function for each record, and `export`.

    from autodidact_plugin import Filter, drop, export, keep, read_config

    class Shout(Filter):
        name = "shout"
        version = "0.1.0"
        config_schema = {"type": "object", "properties": {"max_marks": {"type": "integer"}}}

        def __init__(self, config):
            self.max_marks = read_config(config, max_marks=2).max_marks

        def decide(self, record):
            marks = record.instruction.count("!") + record.instruction.count("！")
            if marks <= self.max_marks:
                return keep()
            return drop("shouts", note=f"{marks} exclamation marks", score=marks)

    export(Shout)

A class may be of several kinds: `class Mine(Filter, Scorer)`. What it says must follow from the configuration and the record alone.
"""

from .config import ConfigError, read_config
from .kinds import Filter, Plugin, Scorer, Template, Validator, export
from .prompts import Completion, Example, Item, Rendered, Request, ask, chat, go_on
from .record import Record
from .verdict import Correction, Decision, Score, accept, correct, drop, keep

__all__ = [
    "Completion", "ConfigError", "Correction", "Decision", "Example", "Filter", "Item", "Plugin", "Record", "Rendered", "Request",
    "Score", "Scorer", "Template", "Validator", "accept", "ask", "chat", "correct", "drop", "export", "go_on", "keep", "read_config",
]
