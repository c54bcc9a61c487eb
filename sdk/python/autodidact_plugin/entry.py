"""The component's exports: what componentize-py looks for, made of the author's class in `plugin.py`.

An exception that is not caught would abort the instance, so each becomes the call's error.
"""

import gc
import json

import plugin as _author  # noqa: F401  (it calls `export`)
from componentize_py_types import Err
from wit_world import exports as _worlds
from wit_world.exports import plugin as _wit

from .config import ConfigError
from .kinds import exported
from .prompts import Completion, Item, Rendered
from .record import records
from .verdict import Correction, Decision, Score

if hasattr(_worlds, "Validator"):
    from wit_world.exports import validator as _validator
if hasattr(_worlds, "Template"):
    from wit_world.exports import template as _template

_class = exported()
# Read while the component is built, so that a mistake in them shows there.
_DESCRIPTION = _wit.Description(
    name=_class.name,
    version=_class.version,
    kinds=[kind for kind in _wit.Kind if hasattr(_worlds, kind.name.capitalize())],
    config_schema="" if _class.config_schema is None else json.dumps(_class.config_schema, ensure_ascii=False),
    capabilities=[_wit.Capability[name.upper()] for name in _class.capabilities],
)
# The plugin with the configuration that it was made of, so that one is read once and not for every batch.
_kept = ("", None)


def _configured(config):
    global _kept
    if _kept[1] is None or _kept[0] != config:
        _kept = (config, _class(json.loads(config)))
    return _kept[1]


def _told(error):
    """Says in one line what went wrong and where."""
    if isinstance(error, ConfigError):
        return str(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" ({place.tb_frame.f_code.co_filename}, line {place.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"


def _checked(answers, kinds):
    """A wrong type would abort the instance where it is laid out for the host."""
    for wrong in set(map(type, answers)).difference(kinds):
        raise TypeError(f"expected {' or '.join(kind.__name__ for kind in kinds)}, found {wrong.__name__}")
    return answers


class Plugin:
    def describe(self):
        return _DESCRIPTION

    def check_config(self, config):
        try:
            _configured(config)
        except Exception as error:
            raise Err(_told(error)) from None


class Filter:
    def filter(self, config, text, ends):
        try:
            return _checked(_configured(config).decide_all(records(text, ends)), (Decision,))
        except Exception as error:
            raise Err(_told(error)) from None


class Validator:
    def validate(self, config, text, ends):
        try:
            outcomes = _configured(config).validate_all(records(text, ends))
            return [self._outcome(outcome) for outcome in _checked(outcomes, (Decision, Correction))]
        except Exception as error:
            raise Err(_told(error)) from None

    @staticmethod
    def _outcome(outcome):
        if type(outcome) is Correction:
            return _validator.Outcome_Correct(outcome)
        if outcome.drop_reason is None:
            return _validator.Outcome_Accept()
        return _validator.Outcome_Drop(_validator.Fault(outcome.drop_reason, outcome.note, outcome.score))


class Scorer:
    def score(self, config, text, ends):
        try:
            return _checked(_configured(config).score_all(records(text, ends)), (Score,))
        except Exception as error:
            raise Err(_told(error)) from None


class Template:
    def render(self, config, requests):
        try:
            template = _configured(config)
            rendered = _checked([template.render(request) for request in requests], (Rendered,))
            return [_template.Rendered(self._prompt(one.prompt), one.stop) for one in rendered]
        except Exception as error:
            raise Err(_told(error)) from None

    @staticmethod
    def _prompt(prompt):
        if type(prompt) is str:
            return _template.Prompt_Text(prompt)
        turns = [_template.Message(_template.Role[role.upper()], content) for role, content in prompt]
        return _template.Prompt_Chat(turns)

    def parse(self, config, completions):
        try:
            template = _configured(config)
            read = []
            for one in completions:
                is_cut = one.finish == _template.Finish.LENGTH
                read.append(_checked(template.parse(Completion(one.request, one.text, is_cut)), (Item,)))
            return read
        except Exception as error:
            raise Err(_told(error)) from None


# What was made while the component was built stays for good: the collector need not look through it again at every turn.
gc.collect()
gc.freeze()
