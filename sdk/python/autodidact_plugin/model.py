"""The workflow's model: capabilities `generate`, `embed` and `score`, for components whose world imports `model`.

Everything costs tokens of a budget, and waits for the model; ask for a whole batch at once, in `decide_all` and its like.
"""

try:
    from wit_world.imports import model as _host
except ImportError:
    _host = None


class ModelError(Exception):
    """Why the model gave nothing: it is not granted, the budget is spent, or it failed."""


def generate(questions, max_tokens, temperature=0.0, top_p=1.0, seed=0, stop=(), choices=()):
    """Asks the model each question, and gives a text for each. Where there are choices, an answer is one of these."""
    host = _granted("generate")

    def generation(question):
        prompt = host.Prompt_Chat([host.Message(host.Role.USER, question)])
        return host.Generation(prompt, max_tokens, temperature, top_p, seed, list(stop), list(choices))

    return [completion.text for completion in _asked(host.generate, [generation(question) for question in questions])]


def embed(texts):
    """Embeds texts: a vector of length 1 for each."""
    return _asked(_granted("embed").embed, list(texts))


def score(pairs):
    """Measures how likely texts are after questions, pairs of a question and a text: the sum of log probabilities and the tokens."""
    host = _granted("score")
    asked = [
        host.Continuation(host.Prompt_Chat([host.Message(host.Role.USER, question)]), text) for question, text in pairs
    ]
    return [(likelihood.log_probability, likelihood.tokens) for likelihood in _asked(host.score, asked)]


def _granted(what):
    if _host is None:
        raise ModelError(f"{what}: this component's world does not import the model")
    return _host


def _asked(function, asked):
    from componentize_py_types import Err

    try:
        return function(asked)
    except Err as error:
        raise ModelError(error.value) from None
