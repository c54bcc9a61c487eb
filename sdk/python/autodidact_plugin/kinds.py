"""What a plugin is, by kind."""


class Plugin:
    """Who a plugin is, and how it is made of a configuration. Take one or more of the kinds below."""

    # The name that workflows use: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
    name = ""
    version = "0.1.0"
    # The JSON Schema of the configuration, as a dictionary; None where there is nothing to configure.
    config_schema = None
    # What the plugin asks to use, of `log`, `generate`, `embed`, `score` and `data`; a person grants it, or not.
    capabilities = ()

    def __init__(self, config):
        """Makes the plugin, or raises `ConfigError` with what to mend. Called once for each configuration."""
        if config:
            from .config import ConfigError

            raise ConfigError(f"{self.name} takes no configuration")


class Filter(Plugin):
    """Keeps or drops records."""

    def decide(self, record):
        """Decides on one record: `keep()` or `drop(reason)`."""
        raise NotImplementedError

    def decide_all(self, records):
        """Decides on a batch, as many decisions as records: for filters that ask the model, which is best asked at once."""
        return list(map(self.decide, records))


class Validator(Plugin):
    """Accepts, corrects or drops answered records."""

    def validate(self, record):
        """Judges one record: `accept()`, `correct(output)` or `drop(reason)`."""
        raise NotImplementedError

    def validate_all(self, records):
        """Judges a batch, as many outcomes as records."""
        return list(map(self.validate, records))


class Scorer(Plugin):
    """Gives records numbers."""

    def score(self, record):
        """Scores one record: a `Score`."""
        raise NotImplementedError

    def score_all(self, records):
        """Scores a batch, as many scores as records."""
        return list(map(self.score, records))


class Template(Plugin):
    """Writes the prompts that ask a model for new instructions, and reads what comes back."""

    def render(self, request):
        """Writes the prompt of a request: `ask(text)`, `chat(turns)` or `go_on(text)`."""
        raise NotImplementedError

    def parse(self, completion):
        """Reads the items of a completion, a list of `Item`; an empty one where there is none in it."""
        raise NotImplementedError


_exported = []


def export(plugin):
    """Makes a class this component's plugin; once, at the end of `plugin.py`."""
    if _exported:
        raise RuntimeError(f"{_exported[0].__name__} is exported already")
    _exported.append(plugin)
    return plugin


def exported():
    """Shows the plugin's class."""
    if not _exported:
        raise RuntimeError("plugin.py exports nothing: end it with export(YourClass)")
    return _exported[0]
