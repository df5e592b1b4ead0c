"""OpenAI's own client against replicas: argv is the one that shouts and the one that gives vectors."""

from __future__ import annotations

import sys

import openai
import pytest

shouter, vectors = sys.argv[1:]
for base in ("/v1", "/openai/v1"):
    with openai.OpenAI(base_url=f"http://{shouter}{base}", api_key="any", max_retries=0) as client:
        (model,) = client.models.list().data
        assert (model.id, client.models.retrieve("shouter").id) == ("shouter", "shouter")
        said = [{"role": "user", "content": "hello"}]
        whole = client.chat.completions.create(model="shouter", messages=said)
        assert whole.choices[0].message.content == "HELLO"
        assert whole.usage.total_tokens == 2
        options = {"include_usage": True}
        parts = list(
            client.chat.completions.create(
                model="shouter", messages=said, stream=True, stream_options=options
            )
        )
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text == "HELLO"
        assert parts[-1].usage.total_tokens == 2
        assert client.completions.create(model="shouter", prompt="hello").choices[0].text == "HELLO"
        streamed = client.completions.create(model="shouter", prompt="hello", stream=True)
        assert "".join(part.choices[0].text for part in streamed) == "HELLO"
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model="shouter", messages=said, n=2)
        assert (refused.value.status_code, refused.value.param) == (400, "n")
        with pytest.raises(openai.NotFoundError, match='unknown model "gpt-5"'):
            client.chat.completions.create(model="gpt-5", messages=said)
    with openai.OpenAI(base_url=f"http://{vectors}{base}", api_key="any", max_retries=0) as client:
        for style in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            found = client.embeddings.create(model="vectors", input=["ab", "abc"], **style)
            assert len(found.data) == 2
            if style.get("encoding_format") != "base64":
                assert found.data[1].embedding == [3.0, 0.5, -1.0]
            assert found.usage.prompt_tokens == 2
print("openai: ok")
