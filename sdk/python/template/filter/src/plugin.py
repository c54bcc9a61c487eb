"""Drops instructions that shout or say too little."""

from autodidact_plugin import ConfigError, Filter, drop, export, keep, read_config
from autodidact_plugin.text import count_tokens


class Plugin(Filter):
    name = "{{name}}"
    version = "0.1.0"
    config_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_marks": {
                "description": "The most exclamation marks, of either width, that are kept.",
                "type": "integer", "minimum": 0, "default": 2,
            },
            "min_tokens": {
                "description": "The least tokens that are kept: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 0, "default": 3,
            },
        },
    }

    def __init__(self, config):
        self.settings = read_config(config, max_marks=2, min_tokens=3)
        for name, value in vars(self.settings).items():
            if value < 0:
                raise ConfigError(f"{name}: expected 0 or more, found {value}")

    def decide(self, record):
        # A text is decoded each time that it is asked for.
        instruction = record.instruction
        tokens = count_tokens(instruction)
        if tokens < self.settings.min_tokens:
            return drop("too_short", note=f"{tokens} tokens", score=tokens)
        marks = instruction.count("!") + instruction.count("！")
        if marks > self.settings.max_marks:
            return drop("shouts", note=f"{marks} exclamation marks", score=marks)
        return keep()


export(Plugin)
