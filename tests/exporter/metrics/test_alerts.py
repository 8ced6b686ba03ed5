"""The alert rules, tested by promtool on scrapes: what should wake somebody does, and nothing else does."""

import shutil
import subprocess

import pytest
import yaml

from exporter.deploy import write_server_files
from exporter.deploy.alerts import alerts_file, batch_ops
from signatures.contract import names
from signatures.contract.record import ExportRecord

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")

MINUTES = 40
RULES = alerts_file(["digits"], {"digits": 2000}, 600)
ALERTS = {
    "ModelServerAbsent",
    "ModelErrors",
    "ModelSlow",
    "ModelVersionNotLoaded",
    "ModelWarmupFailed",
    "ModelBatchesWait",
}


def growing(before, after):
    """Series that grow evenly from one scrape to the other; what is only in the second appears half-way."""
    found = {}
    for each, end in after.items():
        if each in before:
            step = (end - before[each]) / MINUTES
            found[each] = f"{before[each]:.17g}+{step:.17g}x{MINUTES}"
        else:
            found[each] = f"_x{MINUTES // 2 - 1} {end:.17g}+0x{MINUTES // 2}"
    return found


def still(scrape):
    return {each: f"{value:.17g}+0x{MINUTES}" for each, value in scrape.items()}


def zeros(scrape):
    return dict.fromkeys(scrape, 0.0)


@pytest.fixture
def up(scrapes):
    """The server as Prometheus reaches it, all the time."""
    return {scrapes.up: f"1x{MINUTES}"}


def firing(tmp_path, series, expected, rules=RULES, details=()):
    """Let promtool say whether these alerts and no others fire at the end, and what some of them say."""
    (tmp_path / "alerts.yaml").write_text(rules)
    query = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(expected)],
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [query],
        "alert_rule_test": [{"eval_time": f"{MINUTES}m", **detail} for detail in details],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_takes_the_rules_that_an_export_writes(tmp_path):
    extra = tmp_path / "digits" / "1" / names.ASSETS_EXTRA
    extra.mkdir(parents=True)
    (extra / names.WARMUP_FILE).write_bytes(b"")
    ExportRecord(
        export_id="1" * 32,
        model="digits",
        k=2,
        labels=("a", "b"),
        preprocessing=None,
        golden_digest="2" * 64,
        batching={"batch_timeout_micros": 2000},
    ).write(tmp_path / "digits" / "1")
    write_server_files(tmp_path, "digits", 1)
    file = tmp_path / "deploy" / "alerts.yaml"

    done = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    (group,) = yaml.safe_load(file.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == ALERTS
    assert file.read_text() == RULES


@needs_promtool
def test_a_server_that_answers_wakes_nobody(tmp_path, scrapes, up):
    series = growing(scrapes.read("start"), scrapes.read("steady"))

    firing(tmp_path, up | series, set())


@needs_promtool
def test_a_server_that_nobody_calls_wakes_nobody(tmp_path, scrapes, up):
    firing(tmp_path, up | still(scrapes.read("start")), set())


@needs_promtool
@pytest.mark.parametrize("value", ["0", None])
def test_a_server_that_is_down_or_not_known_at_all_is_absent(tmp_path, scrapes, value):
    series = {} if value is None else {scrapes.up: f"{value}x{MINUTES}"}

    firing(tmp_path, series, {"ModelServerAbsent"})


@needs_promtool
def test_failures_of_the_server_are_told_with_their_share_and_model(tmp_path, scrapes, up):
    after = scrapes.read("errors")
    labels = {"alertname": "ModelErrors", "severity": "critical", "model_name": "compiled"}
    annotations = {
        "summary": "50% of requests for compiled fail in the server",
        "description": "INTERNAL and UNAVAILABLE are the server's own failures; requests that callers got wrong have "
        "other codes.",
    }
    detail = {"alertname": "ModelErrors", "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}]}

    firing(tmp_path, up | growing(zeros(after), after), {"ModelErrors"}, details=[detail])


@needs_promtool
def test_requests_that_callers_got_wrong_wake_nobody(tmp_path, scrapes, up):
    count = scrapes.series(":tensorflow:serving:request_count", 'model_name="digits",status="INVALID_ARGUMENT"')

    firing(tmp_path, up | growing({count: 0.0}, {count: 1000.0}), set())


@needs_promtool
def test_slow_answers_are_told_by_entry_point(tmp_path, scrapes, up):
    after = scrapes.read("slow")
    (rule,) = (rule for rule in yaml.safe_load(RULES)["groups"][0]["rules"] if rule["alert"] == "ModelSlow")
    assert "{{ $labels.entrypoint }}" in rule["annotations"]["summary"]

    firing(tmp_path, up | growing(zeros(after), after), {"ModelSlow"})


@needs_promtool
def test_a_version_that_failed_to_load_is_told_though_its_counter_begins_with_the_failure(tmp_path, scrapes, up):
    series = growing(scrapes.read("steady"), scrapes.read("failed_load"))

    firing(tmp_path, up | series, {"ModelVersionNotLoaded"})


@needs_promtool
def test_a_version_that_was_loaded_at_the_second_try_wakes_nobody(tmp_path, scrapes, up):
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    failed = {scrapes.series(loads, 'model_path="/models/cats/2",status="fail"'): 1.0}
    loaded = {scrapes.series(loads, 'model_path="/models/cats/2",status="success"'): 1.0}

    firing(tmp_path, up | still(failed | loaded), set())


@needs_promtool
def test_a_version_that_was_never_warmed_up_is_told(tmp_path, scrapes, up):
    series = growing(scrapes.read("steady"), scrapes.read("failed_warmup"))
    without_the_load = {name: values for name, values in series.items() if "digits/2" not in name}

    firing(tmp_path, up | without_the_load, {"ModelWarmupFailed"})


@needs_promtool
@pytest.mark.parametrize("path", ["/mnt/models/3", "/srv/m/digits/3"])
def test_a_warmup_is_missed_wherever_the_model_is_mounted(tmp_path, scrapes, up, path):
    load = scrapes.series(":tensorflow:cc:saved_model:load_attempt_count", f'model_path="{path}",status="success"')

    firing(tmp_path, up | still({load: 1.0}), {"ModelWarmupFailed"})


@needs_promtool
def test_a_model_that_has_no_warmup_requests_is_expected_to_have_none(tmp_path, scrapes, up):
    load = scrapes.series(
        ":tensorflow:cc:saved_model:load_attempt_count", 'model_path="/models/notdigits/1",status="success"'
    )

    firing(tmp_path, up | still({load: 1.0}), set())


@needs_promtool
def test_batches_that_wait_for_their_timeout_wake_nobody(tmp_path, scrapes, up):
    after = scrapes.read("batching")

    firing(tmp_path, up | growing(zeros(after), after), set())


@needs_promtool
@pytest.mark.parametrize("op", ["digits_backbone", "StatefulPartitionedCall/digits_backbone", "digits_backbone_32"])
def test_batches_that_wait_for_a_thread_are_told_by_model(tmp_path, scrapes, up, op):
    before, after = (
        {name.replace("digits_backbone", op): value for name, value in scrapes.read(name).items()}
        for name in ("batching", "backlog")
    )
    labels = {"alertname": "ModelBatchesWait", "severity": "warning", "model_name": "digits"}
    annotations = {
        "summary": "Batches of digits wait 30k microseconds, and their timeout is 2000",
        "description": "They wait for a free thread: the server has more to do than it can. Start another, or batch "
        "larger.",
    }
    detail = {"alertname": "ModelBatchesWait", "exp_alerts": [{"exp_labels": labels, "exp_annotations": annotations}]}

    firing(tmp_path, up | growing(before, after), {"ModelBatchesWait"}, details=[detail])


@needs_promtool
def test_batches_of_one_model_are_not_taken_for_those_of_another(tmp_path, scrapes, up):
    rules = alerts_file([], {"digits.v2": 2000, "cats": 2000}, 600)
    before, after = (
        {name.replace("digits_backbone", op): value for name, value in scrapes.read(file).items()}
        for file, op in (("batching", "digits_v2_backbone"), ("backlog", "digits_v2_backbone"))
    )

    firing(tmp_path, up | growing(before, after), set(), rules)


def test_a_model_without_batching_or_warmup_has_no_rule_about_it():
    (group,) = yaml.safe_load(alerts_file([], {}, 600))["groups"]

    assert {rule["alert"] for rule in group["rules"]} == ALERTS - {"ModelWarmupFailed", "ModelBatchesWait"}


def test_a_name_is_quoted_for_the_expression_and_for_its_string():
    assert batch_ops("x-rays.v2") == r"(.*/)?x\\-rays\\.v2_backbone(_[0-9]+)?"
