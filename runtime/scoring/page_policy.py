"""The Content-Security-Policy of the product's pages: what their templates have runs, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

import jinja2

_BLOCK = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def content_policy(environment: jinja2.Environment, template: str) -> str:
    """A policy that allows a template's own `<style>` and `<script>` by their hashes, and pictures within the page.

    The hashes are those of the template's source, so that what a name or a model's text brought into the page would
    not run even if it were not escaped. Blocks of data (`type="application/json"`) need no permission.

    Raises:
        ValueError: a block is filled in by the template, so that its hash is not known before.
    """
    source = environment.loader.get_source(environment, template)[0] if environment.loader else ""
    allowed: dict[str, list[str]] = {"style": [], "script": []}
    for kind, content in _BLOCK.findall(source):
        if re.search(r"{[{%#]", content):
            raise ValueError(f"{template}: <{kind}> is filled in; put what changes into a block of data")
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode("ascii")
        allowed[kind].append(f"'sha256-{digest}'")
    directives = [f"{kind}-src {' '.join(hashes)}" for kind, hashes in allowed.items() if hashes]
    return "; ".join(["default-src 'none'", *directives, "img-src data:", "base-uri 'none'", "form-action 'none'"])
