"""Scores how full a text is, from 0 for nothing to 1 for as many tokens as are wanted."""

from autodidact_plugin import ConfigError, Score, Scorer, export, read_config
from autodidact_plugin.text import count_tokens


class Plugin(Scorer):
    name = "{{name}}"
    version = "0.1.0"
    config_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "field": {
                "description": "Which text is scored.",
                "enum": ["instruction", "output"], "default": "output",
            },
            "target_tokens": {
                "description": "The tokens that are worth 1: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 1, "default": 60,
            },
        },
    }

    def __init__(self, config):
        self.settings = read_config(config, field="output", target_tokens=60)
        if self.settings.field not in ("instruction", "output"):
            raise ConfigError(f"field: expected instruction or output, found {self.settings.field}")
        if self.settings.target_tokens < 1:
            raise ConfigError(f"target_tokens: expected 1 or more, found {self.settings.target_tokens}")

    def score(self, record):
        text = record.instruction if self.settings.field == "instruction" else record.output
        if not text:
            return Score(None, note=f"there is no {self.settings.field}")
        tokens = count_tokens(text)
        return Score(min(tokens / self.settings.target_tokens, 1.0), note=f"{tokens} tokens")


export(Plugin)
