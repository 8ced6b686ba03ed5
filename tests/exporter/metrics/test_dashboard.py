"""The dashboard: fields that Grafana knows, and queries that Prometheus answers with the right numbers."""

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.deploy.dashboard import dashboard_file

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    None in (PROMETHEUS, PROMTOOL), reason="Prometheus is not installed: apt-get install prometheus"
)

MINUTES = 30
# Any moment will do, on a whole minute.
BEGIN = 1_700_000_040


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(dashboard_file())


def panel(dashboard, title):
    (found,) = (each for each in dashboard["panels"] if each["title"] == title)
    return found


# Grafana


def missing(ours, theirs, path="$"):
    """Where a value of ours is not in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            place
            for key, value in ours.items()
            for place in ([f"{path}.{key}"] if key not in theirs else missing(value, theirs[key], f"{path}.{key}"))
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        places = zip(ours, theirs, strict=True)
        return [place for number, pair in enumerate(places) for place in missing(*pair, f"{path}[{number}]")]
    return [] if ours == theirs and type(ours) is type(theirs) else [path]


def test_grafana_knows_every_field(dashboard):
    """Grafana's own types, which are generated from its schema, read the file and lose nothing of it."""
    read = json.loads(json.dumps(Dashboard.from_json(dashboard), cls=JSONEncoder))

    assert missing(dashboard, read) == []


def test_a_field_that_grafana_does_not_know_would_be_noticed(dashboard):
    wrong = json.loads(json.dumps(dashboard))
    wrong["panels"][0]["fieldConfig"]["defaults"]["units"] = "s"

    read = json.loads(json.dumps(Dashboard.from_json(wrong), cls=JSONEncoder))

    assert missing(wrong, read) == ["$.panels[0].fieldConfig.defaults.units"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard):
    panels = dashboard["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (each["gridPos"] for each in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for each in panels:
        references = [target["refId"] for target in each["targets"]]
        assert len(set(references)) == len(references)


# Prometheus


def history(scrapes):
    """Samples of half an hour, in which everything grows evenly from nothing, or from what there was at the start."""
    before = scrapes.read("start")
    after = scrapes.read("steady", "failed_warmup", "errors", "batching") | {scrapes.up: 1.0}
    lines = []
    for series, end in sorted(after.items()):
        begin = 1.0 if series == scrapes.up else before.get(series, 0.0)
        for minute in range(MINUTES + 1):
            value = begin + (end - begin) * minute / MINUTES
            lines.append(f"{series} {value:.17g} {BEGIN + 60 * minute}")
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def ask(tmp_path_factory, free_port, scrapes):
    """Start a Prometheus with that half an hour; return what asks it for a query's answer at the end."""
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "history").write_text(history(scrapes))
    (directory / "prometheus.yml").write_text("{}\n")
    subprocess.run(
        [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", directory / "history", directory / "data"],
        check=True,
        capture_output=True,
    )
    port = free_port()
    command = [PROMETHEUS, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    command += ["--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}"]
    with (directory / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_until_ready(port, directory / "log")
            yield lambda expression: answer(port, expression)
        finally:
            process.terminate()


def wait_until_ready(port, log):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def answer(port, expression):
    """The values that a panel would show at the end, by labels."""
    expression = expression.replace("$__rate_interval", "5m").replace("$model", ".*")
    assert "$" not in expression
    query = urllib.parse.urlencode({"query": expression, "time": BEGIN + 60 * MINUTES})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=30) as response:
        result = json.load(response)["data"]["result"]
    return {tuple(sorted(each["metric"].values())): float(each["value"][1]) for each in result}


def shown(dashboard, ask, title, query=0):
    return ask(panel(dashboard, title)["targets"][query]["expr"])


@needs_prometheus
def test_every_query_is_answered_with_numbers(dashboard, ask):
    for each in dashboard["panels"]:
        for target in each["targets"]:
            values = ask(target["expr"]).values()
            # What had no samples in the last minutes has no quantile, and no line.
            assert any(math.isfinite(value) for value in values), target["expr"]
            assert not any(math.isinf(value) for value in values), target["expr"]


@needs_prometheus
def test_every_label_in_a_legend_is_one_that_the_answer_has(dashboard, ask):
    for each in dashboard["panels"]:
        for target in each["targets"]:
            labels = target["legendFormat"].count("{{")
            assert {len(found) for found in ask(target["expr"])} == {labels}, target


@needs_prometheus
def test_requests_and_failures_are_counted_by_model(dashboard, ask):
    requests = shown(dashboard, ask, "Requests")
    assert requests[("OK", "digits")] == pytest.approx(206 / 1800)
    assert requests[("INTERNAL", "compiled")] == pytest.approx(20 / 1800)

    assert shown(dashboard, ask, "Share of INTERNAL and UNAVAILABLE") == {("compiled",): pytest.approx(0.5)}


@needs_prometheus
def test_latency_is_what_the_callers_saw_as_far_as_buckets_can_tell(dashboard, ask):
    title = "Latency of good answers, p50 and p99"
    caller = ("GRPC", "Predict", "digits")
    p99, p50 = (shown(dashboard, ask, title, query)[caller] for query in (0, 1))

    # What the bench printed when the scrape was recorded, in microseconds; buckets grow by 1.8.
    assert 17_330 / 1.8 < p99 < 17_330 * 1.8
    assert 4_620 / 1.8 < p50 < 4_620 * 1.8
    assert ("REST", "digits", "predict") in shown(dashboard, ask, title)


@needs_prometheus
def test_loads_and_warmups_are_told_by_version(dashboard, ask):
    target = "10.0.0.7:8501"
    loads = shown(dashboard, ask, "Loads since the server started")
    assert loads[tuple(sorted(("/models/digits/2", target, "fail")))] == 2
    assert loads[tuple(sorted(("/models/digits/1", target, "success")))] == 1

    warmups = shown(dashboard, ask, "Warm-up, mean time")
    assert warmups[tuple(sorted(("/models/digits/1", target, "OK")))] == pytest.approx(3.19857e6)


@needs_prometheus
def test_batching_is_told_by_operation(dashboard, ask):
    op = ("digits_backbone",)
    assert shown(dashboard, ask, "Batching in the graph: mean delay") == {op: pytest.approx(2100)}
    title = "Batching in the graph: mean examples a request, a batch, and padding"
    assert [shown(dashboard, ask, title, query)[op] for query in range(3)] == pytest.approx([1, 2, 2])
    assert shown(dashboard, ask, "Batching by the server: mean wait") == {("batch_threads",): pytest.approx(2500)}


@needs_prometheus
def test_the_servers_that_are_reached_are_counted(dashboard, ask):
    assert shown(dashboard, ask, "Servers that Prometheus reaches") == {(): 1}
