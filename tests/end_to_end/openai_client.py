"""OpenAI's own client against a daemon: every call, both kinds of answers, errors and limits.

    openai_client.py SOCKET ADDRESS CERTIFICATE TOKEN MODEL ADAPTER ENCODER

Everything is asked over the Unix socket and over TLS; the exit status tells whether it was answered rightly.
"""

import json
import math
import sys

import openai

try:
    import httpx2 as httpx
except ImportError:
    import httpx

SOCKET, ADDRESS, CERTIFICATE, TOKEN, MODEL, ADAPTER, ENCODER = sys.argv[1:]
TUNED = f"{MODEL}:{ADAPTER}"
ASK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Name a bird."}]},
]


def clients():
    over_socket = httpx.Client(transport=httpx.HTTPTransport(uds=SOCKET))
    yield openai.OpenAI(base_url="http://localhost/v1", api_key="-", http_client=over_socket, max_retries=0)
    import ssl

    context = ssl.create_default_context(cafile=CERTIFICATE)
    yield openai.OpenAI(
        base_url=f"https://{ADDRESS}/v1",
        api_key=TOKEN,
        http_client=httpx.Client(verify=context),
        max_retries=0,
    )


def refused(kind, call, *words):
    try:
        call()
    except kind as error:
        for word in words:
            assert word in str(error), (word, str(error))
        return error
    raise AssertionError(f"expected {kind.__name__} with {words}")


def chats(client):
    create = client.chat.completions.create
    whole = create(model=MODEL, messages=ASK, max_tokens=12, seed=3, temperature=0.9)
    choice = whole.choices[0]
    assert whole.object == "chat.completion" and whole.model == MODEL and whole.created > 0
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert whole.usage.completion_tokens <= 12
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    chunks = list(
        create(
            model=MODEL,
            messages=ASK,
            max_tokens=12,
            seed=3,
            temperature=0.9,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == choice.message.content, (pieces, choice.message.content)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == choice.finish_reason
    assert chunks[-1].usage == whole.usage

    # The first of several is the one alone.
    several = create(model=MODEL, messages=ASK, max_completion_tokens=12, seed=3, temperature=0.9, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[0].message.content == choice.message.content
    assert several.usage.prompt_tokens == whole.usage.prompt_tokens
    mixed = {0: "", 1: "", 2: ""}
    for chunk in create(model=MODEL, messages=ASK, max_tokens=12, seed=3, temperature=0.9, n=3, stream=True):
        mixed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(mixed.values()) == [choice.message.content for choice in several.choices]

    tuned = create(model=TUNED, messages=ASK, max_tokens=12, temperature=0)
    base = create(model=MODEL, messages=ASK, max_tokens=12, temperature=0)
    assert tuned.model == TUNED and tuned.choices[0].message.content != base.choices[0].message.content

    told = create(model=MODEL, messages=ASK, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3)
    tokens = told.choices[0].logprobs.content
    assert len(tokens) == told.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob >= token.logprob
    assert sum(bytes_of(token) for token in tokens) >= len(told.choices[0].message.content.encode())


def bytes_of(token):
    return len(token.bytes)


def forms(client):
    create = client.chat.completions.create
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 9}, "mood": {"enum": ["calm", "平静"]}},
        "required": ["age", "mood"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "owl", "strict": True, "schema": schema}}
    value = json.loads(create(model=MODEL, messages=ASK, response_format=form, max_tokens=60).choices[0].message.content)
    assert set(value) == {"age", "mood"} and 1 <= value["age"] <= 9 and value["mood"] in ("calm", "平静")
    chosen = create(model=MODEL, messages=ASK, extra_body={"guided_choice": ["yes", "不是"]})
    assert chosen.choices[0].message.content in ("yes", "不是")
    regex = create(model=MODEL, messages=ASK, extra_body={"structured_outputs": {"regex": "[0-9]{3}"}})
    assert regex.choices[0].message.content.isdigit()
    one = create(model=MODEL, messages=ASK, max_tokens=1, temperature=0)
    refused(openai.BadRequestError, lambda: create(model=MODEL, messages=ASK, extra_body={"guided_regex": "(a"}), "regular expression")
    return one


def completes(client):
    create = client.completions.create
    both = create(model=MODEL, prompt=["Name a bird: an", "一只鸟"], n=2, max_tokens=6, seed=1)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    first = create(model=MODEL, prompt="Name a bird: an", max_tokens=6, seed=1)
    assert first.choices[0].text == both.choices[0].text
    told = create(model=MODEL, prompt="Name a bird: an", max_tokens=4, temperature=0, logprobs=2)
    logprobs = told.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == told.usage.completion_tokens
    streamed = create(model=MODEL, prompt="Name a bird: an", max_tokens=6, seed=1, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == first.choices[0].text
    stopped = create(model=MODEL, prompt="Name a bird: an", max_tokens=6, seed=1, stop=[first.choices[0].text[1:3]])
    assert stopped.choices[0].finish_reason == "stop" and len(stopped.choices[0].text) <= 1
    # With the greatest bias a token comes, and comes again, whatever it is; with the least it does not.
    free = create(model=MODEL, prompt="Name a bird: an", max_tokens=3, temperature=0, logprobs=1).choices[0].logprobs.tokens
    forced = [
        create(model=MODEL, prompt="Name a bird: an", logit_bias={id: 100}, max_tokens=3, temperature=0, logprobs=1).choices[0].logprobs.tokens
        for id in ("50", "51")
    ]
    for tokens in forced:
        assert len(tokens) == 3 and len(set(tokens)) == 1, forced
    assert forced[0] != forced[1] and free not in forced
    kept_out = create(model=MODEL, prompt="Name a bird: an", logit_bias={"50": 100, "51": -100}, max_tokens=3, temperature=0, logprobs=1)
    assert kept_out.choices[0].logprobs.tokens == forced[0]


def embeds(client):
    texts = ["the cat", "a river", "the cat"]
    made = client.embeddings.create(model=ENCODER, input=texts)
    plain = client.embeddings.create(model=ENCODER, input=texts, encoding_format="float")
    for one, other in zip(made.data, plain.data):
        assert one.embedding == other.embedding
        assert math.isclose(sum(x * x for x in one.embedding), 1.0, rel_tol=1e-4)
    assert made.data[0].embedding == made.data[2].embedding != made.data[1].embedding
    assert made.usage.prompt_tokens > 0
    assert len(client.embeddings.create(model=MODEL, input="the cat").data) == 1
    many = client.embeddings.create(model=ENCODER, input=["the cat"] * 300)
    assert [one.index for one in many.data] == list(range(300))
    refused(openai.BadRequestError, lambda: client.embeddings.create(model=ENCODER, input=["the cat"] * 299 + [" "]), "input[299]")
    refused(openai.BadRequestError, lambda: client.embeddings.create(model=ENCODER, input=[[1, 2]]), "token ids")


def lists(client):
    names = [model.id for model in client.models.list()]
    assert MODEL in names and TUNED in names and ENCODER in names, names
    assert client.models.retrieve(TUNED).id == TUNED
    refused(openai.NotFoundError, lambda: client.models.retrieve("nobody"), "nobody")


def refuses(client):
    create = client.chat.completions.create

    def chat(**fields):
        return lambda: create(**{"model": MODEL, "messages": ASK, **fields})

    bad = openai.BadRequestError
    assert refused(bad, chat(temperature=3), "temperature: expected 0 to 2").param == "temperature"
    assert refused(bad, chat(top_p=7), "top_p: expected").param == "top_p"
    refused(bad, chat(n=17), "n: expected at most 16")
    refused(bad, chat(max_tokens=0), "max_tokens")
    refused(bad, chat(messages=[]), "messages")
    refused(bad, chat(messages=[{"role": "tool", "tool_call_id": "1", "content": "x"}]), "messages[0].role")
    refused(bad, chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]), "image_url")
    long = refused(bad, chat(messages=[{"role": "user", "content": "word " * 4000}]), "shorten")
    assert long.code == "context_length_exceeded", long.code
    refused(bad, chat(messages=[{"role": "user", "content": "word " * 4000}], stream=True), "shorten")
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    refused(bad, chat(tools=tools), "tools: this server does not do that")
    refused(bad, chat(extra_body={"temprature": 1}), "temprature: this server knows no such field")
    refused(bad, chat(logit_bias={"many": 1}), "logit_bias")
    refused(bad, chat(model=ENCODER), "is an encoder")
    refused(openai.NotFoundError, chat(model="nobody"), "nobody")
    refused(openai.NotFoundError, chat(model=f"{MODEL}:nothing"), "nothing")
    refused(bad, lambda: client.completions.create(model=MODEL, prompt=[[1, 2]]), "token ids")
    refused(bad, lambda: client.completions.create(model=MODEL, prompt="a", echo=True), "echo")
    refused(openai.NotFoundError, lambda: client.images.generate(prompt="an owl"), "/v1/chat/completions")
    answer = client._client.post(f"{client.base_url}chat/completions", content=b"{", headers={"Authorization": f"Bearer {client.api_key}"})
    assert answer.status_code == 400 and "not JSON" in answer.json()["error"]["message"]
    answer = client._client.get(f"{client.base_url}completions", headers={"Authorization": f"Bearer {client.api_key}"})
    assert answer.status_code == 405 and answer.json()["error"]["type"] == "invalid_request_error"
    answer = client._client.post(
        f"{client.base_url}completions",
        content=b'{"prompt": "' + b"a" * (5 << 20) + b'"}',
        headers={"Authorization": f"Bearer {client.api_key}"},
    )
    assert answer.status_code == 413, answer.status_code


for client in clients():
    for check in (lists, chats, forms, completes, embeds, refuses):
        check(client)
    # A stream that nobody reads to its end stops the work; the next call is answered.
    stream = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=900, stream=True)
    next(iter(stream))
    stream.close()
    assert client.completions.create(model=MODEL, prompt="a", max_tokens=2).choices

stranger = client.with_options(api_key="wrong-token-that-is-long-enough")
assert refused(openai.AuthenticationError, lambda: list(stranger.models.list()), "token").code == "invalid_api_key"
print("all answered")
