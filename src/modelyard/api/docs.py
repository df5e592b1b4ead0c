"""`/api/docs`: the API's reference as a page of our own, with no asset from elsewhere."""

from __future__ import annotations

import html

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from modelyard.api.verbs import KEY, states
from modelyard.domain.access import Verb

router = APIRouter(include_in_schema=False)


@router.get("/api/docs", openapi_extra=states(Verb.ANYONE))
async def page(request: Request) -> HTMLResponse:
    """Every route with what it does and what it needs; the machine-readable form is beside it."""
    schema = request.app.openapi()
    rows = "".join(
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(route.get('description') or route.get('summary', ''))}</td>"
        f"<td>{html.escape(route.get(KEY, ''))}</td></tr>"
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Modelyard API</title>'
        '<link rel="icon" href="/assets/mark.svg"><link rel="stylesheet" href="/assets/console.css"></head>'
        '<body><main><h2>Modelyard API</h2><p><a href="/api/openapi.json">openapi.json</a></p><table>'
        "<thead><tr><th>Method</th><th>Path</th><th>What it does</th><th>Needs</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></main></body></html>"
    )
