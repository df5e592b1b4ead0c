"""OpenAI's chat and text completions, for models that turn text into text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from modelyard.oip.datatypes import BYTES
from modelyard.oip.embeddings import TOKENS, first_text, words_in
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.generate import one_text
from modelyard.oip.model import Events, Query, Rendered, ServedModel, event
from modelyard.oip.signature import Signature, TensorSpec
from modelyard.oip.tensor import Tensor, to_array
from modelyard.oip.v1 import object_in

TASKS = ("text-generation", "text2text-generation", "chat", "conversational")
OPTIONS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed")
"""What is passed on to the model as parameters."""
PENALTIES = ("frequency_penalty", "presence_penalty")
IGNORED = ("model", "user", "stream", "stream_options", "metadata", "store", "safety_identifier", "n", "stop")
NOT_OFFERED = {
    "tools": [],
    "functions": [],
    "tool_choice": "none",
    "logprobs": False,
    "logit_bias": {},
    "suffix": "",
    "echo": False,
    "best_of": 1,
    "audio": None,
    "response_format": {"type": "text"},
}
"""Options that a model here cannot follow, each with the value that asks for nothing."""


@dataclass(frozen=True, slots=True)
class Style:
    """How an answer is written."""

    chat: bool
    model: str
    identity: str
    created: int
    """Seconds since 1970."""
    prompt_words: int
    usage_event: bool
    """Whether a stream ends with what was used."""


def generates_text(model: ServedModel) -> bool:
    """Whether the model turns text into text: it says so, or has `text_input` and `text_output`."""
    found = _text_input(model.signature) is not None
    outputs = {spec.name for spec in model.signature.outputs if spec.datatype == BYTES}
    return found and (model.task in TASKS or "text_output" in outputs)


def parse_completion(body: bytes, model: ServedModel, *, chat: bool, identity: str, created: int) -> Query:
    """Read a request; `identity` and `created` are the answer's. Raises Rejected with the place."""
    document = object_in(body, f"an object with model and {'messages' if chat else 'prompt'}")
    spec = _text_input(model.signature)
    if spec is None or not generates_text(model):
        raise Rejected("model", f'"{model.name}" does not generate text: see /v1/models for what it does')
    key = "messages" if chat else "prompt"
    _check_options(document, key)
    text = _conversation(document.get(key), spec) if chat else _prompt(document.get(key))
    stream = _flag(document, "stream")
    usage = document.get("stream_options") or {}
    if not isinstance(usage, dict):
        raise Rejected("stream_options", f"expected an object, got {shown(usage)}")
    name = document.get("model")
    style = Style(
        chat,
        name if isinstance(name, str) else model.name,
        identity,
        created,
        words_in([text]),
        _flag(usage, "include_usage", "stream_options."),
    )
    return Query(
        (one_text(spec, [text.encode()]),),
        _Whole(style),
        parameters=_parameters(document),
        events=_Stream(style).events() if stream else None,
    )


def _text_input(signature: Signature) -> TensorSpec | None:
    inputs = signature.inputs
    return inputs[0] if len(inputs) == 1 and inputs[0].datatype == BYTES else None


def _check_options(document: Mapping[str, Any], key: str) -> None:
    for name, nothing in NOT_OFFERED.items():
        if document.get(name) not in (None, nothing):
            raise Rejected(name, "is not offered by this model: leave it out")
    if document.get("n") not in (None, 1):
        raise Rejected("n", f"expected 1, got {shown(document['n'])}: send several requests")
    known = {*OPTIONS, *PENALTIES, *IGNORED, *NOT_OFFERED, key}
    unknown = sorted(document.keys() - known)
    if unknown:
        raise Rejected(unknown[0], "is not known; leave it out")


def _parameters(document: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*OPTIONS, *PENALTIES):
        value = document.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Rejected(name, f"expected a number, got {shown(value)}")
        found["max_tokens" if name == "max_completion_tokens" else name] = value
    stop = document.get("stop")
    if stop:
        stops = [stop] if isinstance(stop, str) else stop
        if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
            raise Rejected("stop", f"expected a text or a list of texts, got {shown(stop)}")
        found["stop"] = orjson.dumps(stops).decode()
    return found


def _flag(document: Mapping[str, Any], name: str, path: str = "") -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise Rejected(f"{path}{name}", f"expected true or false, got {shown(value)}")
    return bool(value)


def _prompt(given: Any) -> str:
    prompts = [given] if isinstance(given, str) else given
    if not isinstance(prompts, list) or len(prompts) != 1 or not isinstance(prompts[0], str):
        raise Rejected("prompt", f"expected one text, got {shown(given)}: send several requests for several")
    return prompts[0]


def _conversation(messages: Any, spec: TensorSpec) -> str:
    """What the model gets: the messages as JSON if its input is called so, else as a script of the talk."""
    if not isinstance(messages, list) or not messages:
        raise Rejected("messages", f"expected a list of messages, got {shown(messages)}")
    said = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    if spec.name == "messages":
        return orjson.dumps([{"role": role, "content": content} for role, content in said]).decode()
    if len(said) == 1:
        return said[0][1]
    return "\n".join([*(f"{role}: {content}" for role, content in said), "assistant:"])


def _message(message: Any, path: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise Rejected(path, f"expected an object with role and content, got {shown(message)}")
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "developer", "user", "assistant"):
        raise Rejected(f"{path}.role", f"expected system, developer, user or assistant, got {shown(role)}")
    if isinstance(content, list):
        content = "".join(_piece(piece, f"{path}.content[{at}]") for at, piece in enumerate(content))
    if not isinstance(content, str):
        raise Rejected(f"{path}.content", f"expected text, got {shown(content)}")
    return role, content


def _piece(piece: Any, path: str) -> str:
    if isinstance(piece, dict) and piece.get("type") == "text" and isinstance(piece.get("text"), str):
        return str(piece["text"])
    raise Rejected(path, "only pieces of text are understood")


def _text_of(outputs: Sequence[Tensor]) -> str:
    texts = [tensor for tensor in outputs if tensor.datatype == BYTES]
    tensor = next((t for t in texts if t.name == "text_output"), texts[0] if texts else None)
    if tensor is None:
        raise Rejected("model", "its answer holds no text: use the infer endpoint")
    return first_text(tensor)


@dataclass(slots=True)
class _Used:
    """What a request has used so far."""

    prompt: int
    answer: int = 0

    def add(self, outputs: Sequence[Tensor], text: str) -> None:
        counted = next((t for t in outputs if t.name == TOKENS and "INT" in t.datatype), None)
        self.answer += words_in([text]) if counted is None else int(to_array(counted).sum())

    def document(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.answer,
            "total_tokens": self.prompt + self.answer,
        }


@dataclass(frozen=True, slots=True)
class _Whole:
    """Writes an answer in one piece."""

    style: Style

    def __call__(self, outputs: Sequence[Tensor]) -> Rendered:
        text, style = _text_of(outputs), self.style
        used = _Used(style.prompt_words)
        used.add(outputs, text)
        said = {"message": {"role": "assistant", "content": text}} if style.chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": "stop"}
        kind = "chat.completion" if style.chat else "text_completion"
        return Rendered(
            (orjson.dumps({**_about(style, kind), "choices": [choice], "usage": used.document()}),)
        )


@dataclass(slots=True)
class _Stream:
    """Writes an answer in parts."""

    style: Style
    used: _Used = field(init=False)
    begun: bool = False

    def __post_init__(self) -> None:
        self.used = _Used(self.style.prompt_words)

    def events(self) -> Events:
        return Events(self.part, self.last, lambda document: event(orjson.dumps(document)))

    def part(self, outputs: Sequence[Tensor]) -> bytes:
        text = _text_of(outputs)
        self.used.add(outputs, text)
        delta = {"content": text} if self.begun else {"role": "assistant", "content": text}
        self.begun = True
        return self._chunk({"delta": delta} if self.style.chat else {"text": text}, None)

    def last(self) -> bytes:
        ended = self._chunk({"delta": {}} if self.style.chat else {"text": ""}, "stop")
        if self.style.usage_event:
            usage = {**_about(self.style, self._kind), "choices": [], "usage": self.used.document()}
            ended += event(orjson.dumps(usage))
        return ended + event(b"[DONE]")

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self.style.chat else "text_completion"

    def _chunk(self, said: dict[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": reason}
        return event(orjson.dumps({**_about(self.style, self._kind), "choices": [choice]}))


def _about(style: Style, kind: str) -> dict[str, Any]:
    return {"id": style.identity, "object": kind, "created": style.created, "model": style.model}
