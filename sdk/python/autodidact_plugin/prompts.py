"""What templates are asked, and what they answer."""

from dataclasses import dataclass, field


@dataclass
class Example:
    """An example to show in the prompt."""

    instruction: str
    input: str = ""
    output: str = ""
    task_type: str = ""
    topic: str = ""


@dataclass
class Request:
    """What a prompt is to ask for. The host's requests have the same fields; this one is for tests."""

    language: str
    examples: list = field(default_factory=list)
    task_type: str = ""
    topic: str = ""
    count: int = 1
    seed: int = 0


@dataclass
class Completion:
    """What a model said to a request; `is_cut` where it had as many tokens as it may have."""

    request: Request
    text: str
    is_cut: bool = False


@dataclass
class Item:
    """A new instruction; its form and topic where the model says them, empty for the request's."""

    instruction: str
    task_type: str = ""
    topic: str = ""


@dataclass
class Rendered:
    """A request, written out; `ask`, `chat` and `go_on` make it."""

    # A text to go on with, or turns: pairs of a role and what it says.
    prompt: object
    stop: list


def ask(text, stop=()):
    """Asks a model in the form that it was trained on."""
    return chat([("user", text)], stop)


def chat(turns, stop=()):
    """Shows a model a conversation, pairs of `system`, `user` or `assistant` and what it says; the model says the next turn."""
    return Rendered([(role, content) for role, content in turns], list(stop))


def go_on(text, stop=()):
    """Shows a model a text to go on with, as it is."""
    return Rendered(text, list(stop))
