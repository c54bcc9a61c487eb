"""Takes blanks off answers, and drops those that are empty or too long."""

from autodidact_plugin import ConfigError, Validator, accept, correct, drop, export, read_config
from autodidact_plugin.text import count_tokens


class Plugin(Validator):
    name = "{{name}}"
    version = "0.1.0"
    config_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "trim": {
                "description": "Whether blanks around an answer are taken off.",
                "type": "boolean", "default": True,
            },
            "max_tokens": {
                "description": "The most tokens of an answer: a word, a number, or one Chinese character.",
                "type": "integer", "minimum": 1, "default": 800,
            },
        },
    }

    def __init__(self, config):
        self.settings = read_config(config, trim=True, max_tokens=800)
        if self.settings.max_tokens < 1:
            raise ConfigError(f"max_tokens: expected 1 or more, found {self.settings.max_tokens}")

    def validate(self, record):
        output = record.output
        # The ideographic blank is one too.
        trimmed = output.strip()
        if not trimmed:
            return drop("empty_answer")
        tokens = count_tokens(trimmed)
        if tokens > self.settings.max_tokens:
            return drop("too_long", note=f"{tokens} tokens", score=tokens)
        if self.settings.trim and trimmed != output:
            return correct(trimmed, note="blanks around it are gone")
        return accept()


export(Plugin)
