"""report.html: what it holds, and what it does under real clicks and keys in a headless Chromium."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from runtime.scoring import drawing, html
from runtime.scoring.result import FaceRow
from tests.helpers import browser
from tests.helpers.report_page import NASTY, RESULTS, page, scored

ENTER, DOWN = "\ue007", "\ue015"  # W3C WebDriver's code points of keys


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """One browser for all tests."""
    if browser.MISSING:
        pytest.skip(browser.MISSING)
    with browser.chromium(tmp_path_factory.mktemp("profile")) as window:
        yield window


@pytest.fixture
def shown(window, tmp_path):
    """results → the window showing their page, in its desktop size."""

    def show(results, calibrated=False, notice=""):
        (tmp_path / "report.html").write_text(page(results, calibrated, notice)[0], encoding="utf-8")
        window.desktop()
        window.open(tmp_path / "report.html")
        return window

    return show


def test_the_page_is_self_contained_and_cannot_be_left_by_a_name():
    text, _ = page(RESULTS)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//|file:)", text)
    assert text.count("<script") == text.count("</script>") == 3 + len(RESULTS)
    assert "default-src 'none'" in text
    assert "<img src=x" not in text


def test_details_are_inert_json_that_comes_back():
    text, _ = page(RESULTS)
    blocks = re.findall(r'<script type="application/json" id="(\w+)">(.*?)</script>', text)
    found = {name: json.loads(content) for name, content in blocks}
    assert [row["path"] for row in found["index"]] == [result.path for result in RESULTS]
    assert found["index"][3]["name"] == f"{NASTY}.mp4"  # without the folder that all share
    assert found["v5"]["reason"] == f"damaged {NASTY}"
    assert len(found["v2"]["curves"]) == 2


def test_long_curves_keep_their_peaks_and_gaps():
    rows = tuple(FaceRow(i, float(i), 0, 0.1, 0, 0, 9, 9, 1, 9, 9, 9, (0.0,) * 8) for i in range(0, 3000))
    rows = tuple(
        row if row.frame_index != 1234 else FaceRow(1234, 1234.0, 0, 0.9, *[0] * 8, (0.0,) * 8) for row in rows
    )
    result = scored(0, 0.1, rows=rows[:2000], sample_times_s=tuple(map(float, range(3000))))
    times, ((curve),) = html._curves(result, html.TIMELINE_POINTS)
    assert len(times) == len(curve["scores"]) == html.TIMELINE_POINTS
    assert max(v for v in curve["scores"] if v is not None) == 0.9
    assert curve["scores"][-1] is None


def test_many_pictures_stay_within_the_budget(monkeypatch):
    monkeypatch.setattr(html, "PICTURE_BUDGET", 2 * sum(len(t["jpeg"]) for t in RESULTS[0].thumbnails))
    text, _ = page([scored(i, 0.9) for i in range(6)])
    assert text.count("data:image/jpeg") == 6


@pytest.mark.browser
def test_sorted_by_score_then_by_what_is_clicked(shown):
    window = shown(RESULTS)
    assert window.texts("tbody td:nth-child(3)") == ["0.95", "0.60", "0.30", "0.10", "", ""]
    window.click("[data-key=score]")
    assert window.texts("tbody td:nth-child(3)") == ["0.10", "0.30", "0.60", "0.95", "", ""]  # no score: last
    assert window.run("return document.querySelectorAll('th')[2].getAttribute('aria-sort')") == "ascending"
    window.click("[data-key=name]")
    assert window.texts(".name")[:2] == [f"{NASTY}.mp4", "clip_0000.mp4"]
    assert window.texts("tbody td:nth-child(2)")[1:4] == ["fake", "real", "fake (partial)"]
    assert window.run("return document.activeElement.dataset.key") == "name"  # the focus stays for the keyboard


@pytest.mark.browser
def test_a_row_opens_with_timeline_thumbnails_segments_regions_and_closes(shown):
    window = shown(RESULTS)
    window.click(".name")
    assert "Score over time" in window.texts(".detail h2")
    assert len(window.find(".detail svg .segment")) == 1
    assert len(window.find(".detail svg circle")) == 16
    loaded = "return [...document.querySelectorAll('.detail img')].map(i => i.complete && i.naturalWidth)"
    assert window.run(loaded) == [drawing.THUMB_SIDE] * 3
    assert window.texts(".detail li") == ["2.0 s to 5.0 s, score 0.95"]
    assert "mouth re-rendered (confidence: weak)" in window.texts(".detail p")
    width = window.run(
        "const t = [...document.querySelectorAll('.regions .track i')].map(i => i.getBoundingClientRect().width);"
        "return t[2] / t[0]"
    )
    assert width == pytest.approx(7, rel=0.05)
    window.click(".name")
    assert window.find(".detail") == []


@pytest.mark.browser
def test_an_abstention_and_a_partial_answer_say_why(shown):
    window = shown(RESULTS)
    for name, title, reason in (
        ("inconclusive_4.mp4", "Why there is no score", "faces too small: 20 px (median), 32 are needed"),
        ("clip_0002.mp4", "What is missing", "30 of 64 declared frames are there"),
    ):
        window.type("#search", name)
        window.click(".name")
        assert title in window.texts(".detail h2")
        assert reason in window.texts(".detail .bad")
        window.run("const s = document.getElementById('search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    assert len(window.texts("tbody > tr.detail")) == 2


@pytest.mark.browser
def test_search_and_filter(shown):
    window = shown(RESULTS)
    window.type("#search", "CLIP_")
    assert len(window.texts(".name")) == 3
    window.run("const f = document.getElementById('filter'); f.value = 'real'; f.dispatchEvent(new Event('change'))")
    assert window.texts(".name") == ["clip_0001.mp4"]
    window.type("#search", "zzz")
    assert window.texts("#caption") == ["no video matches"]


@pytest.mark.browser
def test_by_keyboard_alone(shown):
    window = shown(RESULTS)
    window.run("document.querySelector('.name').focus()")
    window.press(DOWN, ENTER)
    assert window.run("return document.activeElement.textContent") == "clip_0002.mp4"
    assert window.run("return document.activeElement.getAttribute('aria-expanded')") == "true"
    assert len(window.find(".detail")) == 1
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert window.run(outline) != "none"  # one sees where one is


@pytest.mark.browser
def test_a_name_with_html_is_text(shown):
    window = shown(RESULTS)
    window.problems()
    window.run("[...document.querySelectorAll('.name')].forEach(e => e.click())")
    assert window.run("return document.title") == "Deepfake scores"
    assert window.find("img[src=x]") == []
    assert f"{NASTY}.mp4" in window.texts(".name")
    assert window.problems() == []
    window.run("console.error('shows')")
    assert "shows" in window.problems()[0]


@pytest.mark.browser
def test_readable_on_a_phone(shown):
    window = shown(RESULTS)
    window.phone(360, 780)
    window.click(".name")
    assert window.run("return document.documentElement.scrollWidth") <= 360  # nothing to scroll sideways for
    sizes = window.run(
        "return [...document.querySelectorAll('.name, button[data-key]')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(size for size in sizes if size) >= 30  # room for a finger; hidden columns have none
    text = window.run(
        "const t = document.querySelector('.detail svg text');"
        "return parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / 640"
    )
    assert text >= 9


@pytest.mark.browser
def test_a_thousand_videos_stay_fluid(shown):
    rng = np.random.default_rng(0)
    results = [scored(i, round(float(rng.random()), 3)) for i in range(1000)]
    window = shown(results)
    assert window.texts("#caption") == ["1–50 of 1000 videos"]
    assert window.run("return document.querySelectorAll('#rows tr').length") == 50
    measure = (
        "const start = performance.now(); document.querySelector(arguments[0]).click();"
        "document.body.getBoundingClientRect(); return performance.now() - start"
    )
    took = {css: window.run(measure, css) for css in ("[data-key=name]", "#next", ".name")}
    assert max(took.values()) < 1000, took  # a tenth of that on an idle machine
    assert window.texts("#page") == ["2 / 20"]
    assert window.texts("#caption") == ["51–100 of 1000 videos"]
    assert len(window.find(".detail")) == 1


@pytest.mark.browser
def test_probabilities_are_shown_only_if_the_model_is_calibrated(shown):
    assert "Probability" not in "".join(shown(RESULTS).texts("th"))
    window = shown([scored(0, 0.9, probability=0.83)], calibrated=True)
    assert "Probability" in "".join(window.texts("th"))
    assert window.texts("tbody td:nth-child(4)") == ["83 %"]


@pytest.mark.browser
def test_what_the_models_makers_say_stands_above_the_table(shown):
    assert shown(RESULTS).texts("#notice") == [""]
    window = shown(RESULTS, notice=f"experimental {NASTY}")
    assert window.texts("#notice") == [f"experimental {NASTY}".strip()]
    assert not window.find("#notice > *")
