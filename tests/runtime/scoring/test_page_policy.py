"""The pages' Content-Security-Policy allows what their templates have, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import re

import jinja2
import pytest

from runtime.evaluation import report
from runtime.scoring.page_policy import content_policy
from tests.helpers.report_page import RESULTS, page


def policy_of(text):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    return html.unescape(policy)


def pages():
    return page(RESULTS)[0], report.page("A title", ["a fact"], {}, ())


def test_every_block_of_a_page_is_allowed_by_its_hash_and_nothing_inline_beside():
    """Before, 'unsafe-inline' let anything run that had come into the page unescaped."""
    for text in pages():
        policy = policy_of(text)
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        blocks = re.findall(r"<(style|script)>(.*?)</\1>", text, re.DOTALL)
        assert blocks
        for kind, content in blocks:
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy.split(f"{kind}-src")[1].split(";")[0]
        assert not re.search(r"<[^>]*\s(style|on\w+)=", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL))


def test_a_block_that_the_template_fills_in_is_refused():
    environment = jinja2.Environment(loader=jinja2.DictLoader({"a": "<script>var name = {{ name }}</script>"}))
    with pytest.raises(ValueError, match="filled in"):
        content_policy(environment, "a")
