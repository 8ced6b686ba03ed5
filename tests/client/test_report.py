import json
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from client import ServingClient
from client.check.report import report
from client.cli.commands import run

WHEN = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.cells = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)
        if self.tags and self.tags[-1][0] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture
def results(server, model, version):
    with ServingClient(server.address, "letters") as client:
        good = client.check(version)
        right = model.head
        model.head = lambda dense, k: right(dense, k + 1)
        return good, client.check(version)


def test_the_page_shows_the_numbers_of_the_json(server, model, version, tmp_path, capfd):
    model.weights = model.weights * 1.01
    page = tmp_path / "report.html"
    arguments = ["check", "--golden", str(version), "--json", "--report", str(page)]
    assert run(["--address", server.address, "--model", "letters", *arguments]) == 1
    answer = json.loads(capfd.readouterr().out)
    cells = Page(page.read_text()).cells
    for question in ("identity", "backbone", "head"):
        place = cells.index(question)
        numbers = answer[question]
        assert cells[place + 1 : place + 5] == [
            str(numbers["records"]),
            str(numbers["answers"]),
            str(numbers["near_ties"]),
            f"{numbers['largest_difference']:.2g}",
        ]
    for signature in answer["signatures"]:
        place = cells.index(signature["signature"])
        assert cells[place + 1] == str(signature["answers"])
        assert cells[place + 5 : place + 7] == [f"{signature['median_ms']:.2f}", f"{signature['longest_ms']:.2f}"]
    assert answer["backbone"]["first_fault"]["message"] in page.read_text()


def test_each_sample_is_shown_with_its_image_and_its_kept_labels(results):
    text = report(results[:1], WHEN)
    shown = [attributes for tag, attributes in Page(text).tags if tag == "img"]
    assert len(shown) == 9
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in shown)
    assert text.count("(kept)") == 18


def test_markup_in_labels_models_and_addresses_is_shown_as_text(results):
    evil = '<script>alert("1")</script>&amp;'
    text = report([replace(results[0], labels=(evil,) * 8, model=evil, address=evil, source=evil)], WHEN)
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert any(evil in words for words in page.words)


def test_nothing_is_loaded_from_elsewhere(results):
    text = report(results, WHEN)
    assert "<script" not in text
    for tag, attributes in Page(text).tags:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_a_failed_check_names_what_is_wrong_and_a_passed_one_does_not(results):
    good, bad = (report([result], WHEN) for result in results)
    assert "What is wrong" in bad
    assert "NOT what was expected" in bad
    assert "What is wrong" not in good
    assert "at most 2 may be" in bad


def rendered(browser, page):
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    return subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_browser_finds_no_fault_in_its_accessibility(results, accessibility_faults):
    other = replace(results[1], address="other:8500")
    assert accessibility_faults(report([results[0], other], WHEN)) == []


def test_a_phone_shows_the_page_without_scrolling_sideways(results, browser, tmp_path):
    page = tmp_path / "page.html"
    measure = (
        "<script>document.title = document.documentElement.scrollWidth - document.documentElement.clientWidth</script>"
    )
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", report(results, WHEN))
    inner = text.replace("</body>", f"{measure}</body>").replace('"', "&quot;")
    page.write_text(
        f'<!doctype html><iframe id=f width=360 height=900 srcdoc="{inner}"></iframe><script>'
        "onload = () => { document.title = document.getElementById('f').contentDocument.title }</script>",
        "utf-8",
    )
    assert re.search(r"<title>(.*?)</title>", rendered(browser, page)).group(1) == "0"
