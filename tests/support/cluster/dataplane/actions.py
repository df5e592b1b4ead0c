"""What becomes of a request that a rule matched: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.support.cluster.dataplane.matching import Matched

Json = dict[str, Any]
Find = Callable[[Mapping[str, Any]], str]
"""Back end to its cluster."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NO_LIMIT = "0s"


def route(matched: Matched, find: Find) -> Json:
    """One route of Envoy's; a rule without back ends, or with weights of 0 only, answers 500."""
    rule = matched.rule
    filters = list(rule.get("filters", ()))
    found: Json = {"match": matched.match, **headers(filters)}
    for each in filters:
        if each["type"] == "RequestRedirect":
            return found | {"redirect": _redirect(each["requestRedirect"])}
    weighted = [
        {"name": find(each), "weight": each.get("weight", 1), **headers(each.get("filters", ()))}
        for each in rule.get("backendRefs", ())
        if each.get("weight", 1) > 0
    ]
    if not weighted:
        return found | {"direct_response": {"status": 500, "body": {"inline_string": "no back end"}}}
    action: Json = {
        "weighted_clusters": {"clusters": weighted},
        "timeout": _limit(rule.get("timeouts") or {}),
    }
    mirrors = [each["requestMirror"] for each in filters if each["type"] == "RequestMirror"]
    if mirrors:
        action["request_mirror_policies"] = [_mirror(each, find) for each in mirrors]
    for each in filters:
        if each["type"] == "URLRewrite":
            action |= _rewrite(each["urlRewrite"], matched.prefix)
    return found | {"route": action}


def headers(filters: Iterable[Mapping[str, Any]]) -> Json:
    """What is added to headers of requests and answers, and taken away."""
    found: Json = {}
    for each in filters:
        for name, place in (("requestHeaderModifier", "request"), ("responseHeaderModifier", "response")):
            if name in each:
                change = each[name]
                new = [*_added(change.get("set", ()), "OVERWRITE_IF_EXISTS_OR_ADD")]
                new += _added(change.get("add", ()), "APPEND_IF_EXISTS_OR_ADD")
                found.setdefault(f"{place}_headers_to_add", []).extend(new)
                found.setdefault(f"{place}_headers_to_remove", []).extend(change.get("remove", ()))
    return {key: value for key, value in found.items() if value}


def seconds(text: str) -> float:
    """A duration as the Gateway API writes it: `1h30m`, `500ms`."""
    parts = re.findall(r"(\d+)(ms|h|m|s)", text)
    assert "".join(f"{number}{unit}" for number, unit in parts) == text, f"{text!r} is no duration"
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def _added(entries: Iterable[Mapping[str, str]], how: str) -> Iterable[Json]:
    for each in entries:
        # A value is plain text to the Gateway API, and a format to Envoy.
        value = each["value"].replace("%", "%%")
        yield {"header": {"key": each["name"], "value": value}, "append_action": how}


def _limit(timeouts: Mapping[str, str]) -> str:
    limits = [seconds(timeouts[name]) for name in ("request", "backendRequest") if name in timeouts]
    limits = [each for each in limits if each > 0]
    return f"{min(limits):g}s" if limits else _NO_LIMIT


def _mirror(mirror: Mapping[str, Any], find: Find) -> Json:
    parts, whole = mirror.get("percent", 100), 100
    if "fraction" in mirror:
        parts, whole = mirror["fraction"]["numerator"], mirror["fraction"].get("denominator", 100)
    value = {"numerator": round(parts * 1_000_000 / whole), "denominator": "MILLION"}
    return {"cluster": find(mirror["backendRef"]), "runtime_fraction": {"default_value": value}}


def _rewrite(rewrite: Mapping[str, Any], prefix: str) -> Json:
    found: Json = {}
    path = rewrite.get("path") or {}
    if path.get("type") == "ReplaceFullPath":
        new = path["replaceFullPath"]
        found["regex_rewrite"] = {"pattern": {"regex": "^.*$"}, "substitution": new}
    elif path:
        new = path["replacePrefixMatch"].rstrip("/")
        pattern = f"^{re.escape(prefix)}/*"
        found["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": f"{new}/"}
    if "hostname" in rewrite:
        found["host_rewrite_literal"] = rewrite["hostname"]
    return found


def _redirect(redirect: Mapping[str, Any]) -> Json:
    code = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT"}
    found: Json = {"response_code": code[redirect.get("statusCode", 302)]}
    found |= {"scheme_redirect": redirect["scheme"]} if "scheme" in redirect else {}
    found |= {"host_redirect": redirect["hostname"]} if "hostname" in redirect else {}
    return found | ({"port_redirect": redirect["port"]} if "port" in redirect else {})
