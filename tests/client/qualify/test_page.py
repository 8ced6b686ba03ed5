"""The page of a qualification: what it shows, in a browser, too."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from client.qualify.deviation import Deviations, SizeDeviation, needed_tolerances
from client.qualify.facts import MetricFacts, ServerFacts
from client.qualify.page import qualification_page
from client.qualify.points import Point
from client.qualify.recommend import recommend
from client.qualify.results import LoadResult, Qualification, Screened
from client.qualify.versions import VersionRatio
from client.rpc.metadata import VersionStatus


def point(batch, callers):
    milliseconds = 2 + 0.2 * batch + 0.5 * callers
    return Point(
        batch=batch,
        callers=callers,
        examples_per_second=1000 * batch * min(callers, 2) / milliseconds,
        p50_ms=milliseconds,
        p99_ms=1.5 * milliseconds,
        calls=500,
        windows=3,
        settled=True,
        errors={},
        limits=(),
    )


@pytest.fixture
def found():
    points = tuple(point(batch, callers) for batch in (1, 2, 4, 8, 16, 32) for callers in (1, 2, 4))
    alone = [one for one in points if one.callers == 1]
    sizes = tuple(
        SizeDeviation(batch=batch, rows=32, largest=1e-3, at=0.5, between=1e-4, backbone=16.0, head=18.0)
        for batch in (1, 2, 4, 8, 16, 32)
    )
    load = LoadResult(
        window_seconds=4.0,
        screened=(Screened(batch=1, callers=4, examples_per_second=100.0),),
        search_windows=15.5,
        best=max(points, key=lambda one: one.examples_per_second),
        points=points,
        complete=True,
        versions=(
            VersionRatio(version=2, merges="the graph", batch=1, callers=4, examples_per_second=1.9, p99=0.5, rounds=3),
        ),
        recommendation=recommend(alone, lambda size: [one for one in points if one.batch == size], 30.0),
    )
    return Qualification(
        passed=False,
        when="2026-11-25T12:00:00+00:00",
        address="localhost:8500",
        model="letters",
        server=ServerFacts(
            version=1,
            versions=(VersionStatus(1, "AVAILABLE"), VersionStatus(2, "AVAILABLE")),
            signatures=("export_info", "serving_default"),
            server_batching=True,
            graph_batching={"max_batch_size": 32},
            image=None,
            precision="float32",
        ),
        metrics=MetricFacts(
            False, "The server does not report its device.", {":peak_bytes": 1e6}, "From the server's metrics."
        ),
        deviation=sizes,
        tolerances=needed_tolerances(Deviations(sizes=sizes, refused="")),
        load=load,
        faults=("export_id is 'a', expected 'b'",),
        notes=("No GPU confirmed any of this.",),
    )


class Cells(HTMLParser):
    """The text of a page's cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags[-1][0] in ("td", "th"):
            self.cells.append(data)


def test_the_page_shows_what_was_found(found):
    text = qualification_page(found)
    cells = Cells(text).cells
    place = cells.index("localhost:8500")
    assert cells[place - 1] == "address"
    assert "export_id is &#x27;a&#x27;, expected &#x27;b&#x27;" in text
    assert "in the graph, up to 32 and by the server" in cells
    assert ["2", "the graph", "1", "4", "1.90", "0.50", "3"] in [cells[n : n + 7] for n in range(len(cells))]
    assert f"export-model --batching in-graph {found.load.recommendation.options}" in text
    assert "No GPU confirmed this." in text


def test_every_chart_is_told_in_words(found):
    charts = [attributes for tag, attributes in Cells(qualification_page(found)).tags if tag == "svg"]
    assert len(charts) == 3
    assert all(chart["role"] == "img" for chart in charts)
    assert "99th percentile: 4.05 at 1, 4.35 at 2" in charts[0]["aria-label"]


def test_nothing_is_loaded_from_elsewhere_and_markup_is_text(found):
    evil = '<script>alert("1")</script>'
    text = qualification_page(replace(found, model=evil, address=evil, notes=(evil,), faults=(evil,)))
    tags = Cells(text).tags
    assert not {"script", "link", "iframe", "object", "img"} & {tag for tag, _ in tags}
    assert not any(name in attributes for _, attributes in tags for name in ("src", "href"))
    assert "default-src 'none'" in text


def test_what_was_not_measured_is_said(found):
    load = replace(found.load, best=None, points=(), screened=(), versions=(), recommendation=None)
    text = qualification_page(replace(found, load=load, tolerances=None))
    assert "No load was answered, or the time was up." in text
    assert "Nothing that was measured allows a recommendation." in text
    assert "No tolerances follow from these differences." in text


def test_a_browser_finds_no_fault_in_its_accessibility(found, accessibility_faults):
    assert accessibility_faults(qualification_page(found)) == []
