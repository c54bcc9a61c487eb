"""Reads configurations."""

from types import SimpleNamespace


class ConfigError(Exception):
    """What to mend in a configuration, in words for the person who wrote it."""


def read_config(config, **defaults):
    """Reads settings with their defaults: those that are not known and those of another type than the default are refused.

    A whole number will do where the default is a float, and nothing else is converted.
    """
    for name, value in config.items():
        if name not in defaults:
            known = ", ".join(sorted(defaults))
            raise ConfigError(f"{name}: there is no such setting" + (f"; there are {known}" if known else ""))
        wanted = type(defaults[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise ConfigError(f"{name}: expected {TYPE_NAMES.get(wanted, wanted.__name__)}, found {value!r}")
    return SimpleNamespace(**{**defaults, **config})


TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list", dict: "an object"}
