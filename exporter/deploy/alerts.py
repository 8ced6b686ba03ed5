"""Alert rules for Prometheus on the server's own metrics.

The server's counters start with their first event, which a rate therefore never sees: the alert on failed loads uses
the counter itself. A failed warm-up is not counted at all, so its alert looks for a version that was loaded but never
warmed up. The buckets of the server's histograms grow by a factor of 1.8 or 2, and a quantile may be off by as much;
where that would matter, the rules use the mean, which is exact.
"""

import re
from collections.abc import Collection, Mapping

from exporter.deploy.files import Manifest, to_yaml

JOB = "model-server"

_ERROR_SHARE = 0.01
_P99_SECONDS = 1
# With few callers, a batch waits little longer than its timeout; far longer means that it waits for a free thread.
_TIMEOUTS = 2

_SERVING = ":tensorflow:serving"
_LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
_WARMUPS = f"{_SERVING}:model_warmup_latency_count"
# Where KServe mounts a version's parent directory, whatever the model is called.
_KSERVE_PATH = "/mnt/models"

_HEADER = f"""\
# Alert rules on the metrics of tensorflow_model_server. For Prometheus' operator, put the groups under the `spec` of a
# PrometheusRule. The names start with a colon. The thresholds are starting values: learn your own before one wakes you.
# Prometheus finds the servers by a job of this name:
#   scrape_configs:
#     - job_name: {JOB}
#       metrics_path: /monitoring/prometheus/metrics
#       dns_sd_configs: [{{names: [model-server], type: A, port: 8501}}]
# All rules were tested by promtool on scrapes of our stand-in server, with what it does not count written by hand.
"""


def alerts_file(warmed_up: Collection[str], batch_timeouts: Mapping[str, int], startup_seconds: int) -> str:
    """Return the alert rules.

    Args:
        warmed_up: the models whose versions have warm-up requests.
        batch_timeouts: for each model that batches in the graph, how long a request waits for others, in microseconds.
        startup_seconds: how long a version may take to load and warm up.
    """
    rules = [_absent(), _errors(), _slow(), _failed_load()]
    if warmed_up:
        rules.append(_failed_warmup(warmed_up, startup_seconds))
    rules += [_backlog(model, micros) for model, micros in sorted(batch_timeouts.items())]
    return _HEADER + to_yaml({"groups": [{"name": "tensorflow-serving", "rules": rules}]})


def batch_ops(model: str) -> str:
    """Return a regular expression for the op names of a model's batching in the graph, for a PromQL string.

    A name may start with the function that calls the op, and end with a length that requests are padded to.

    Example:
        >>> batch_ops("digits")
        '(.*/)?digits_backbone(_[0-9]+)?'
    """
    return f"(.*/)?{_quoted(model)}_backbone(_[0-9]+)?"


def _absent() -> Manifest:
    return _rule(
        "ModelServerAbsent",
        f'up{{job="{JOB}"}} == 0 or absent(up{{job="{JOB}"}})',
        "2m",
        "critical",
        "Prometheus does not reach the model server {{ $labels.instance }}",
        "The server is down or not found. One that waits for a model to have its first version opens no port.",
    )


def _errors() -> Manifest:
    count = f"{_SERVING}:request_count"
    bad = f'sum by (model_name) (rate({count}{{status=~"INTERNAL|UNAVAILABLE"}}[5m]))'
    return _rule(
        "ModelErrors",
        f"{bad} / sum by (model_name) (rate({count}[5m])) > {_ERROR_SHARE}",
        "5m",
        "critical",
        "{{ $value | humanizePercentage }} of requests for {{ $labels.model_name }} fail in the server",
        "INTERNAL and UNAVAILABLE are the server's own failures; requests that callers got wrong have other codes.",
    )


def _slow() -> Manifest:
    rate = f"sum by (le, model_name, API, entrypoint) (rate({_SERVING}:request_latency_bucket[5m]))"
    return _rule(
        "ModelSlow",
        f"histogram_quantile(0.99, {rate}) / 1e6 > {_P99_SECONDS}",
        "5m",
        "warning",
        "{{ $labels.model_name }}, {{ $labels.API }} by {{ $labels.entrypoint }}: p99 {{ $value | humanizeDuration }}",
        "Good answers alone are counted. Buckets grow by 1.8, so the true value may be lower or higher by as much.",
    )


def _failed_load() -> Manifest:
    by = "by (instance, model_path)"
    return _rule(
        "ModelVersionNotLoaded",
        f'sum {by} ({_LOADS}{{status!="success"}}) > 0 unless sum {by} ({_LOADS}{{status="success"}}) > 0',
        "1m",
        "critical",
        "{{ $labels.instance }} could not load {{ $labels.model_path }}",
        "The server tries again for minutes, then leaves the version in error and goes on serving the one before. "
        "The alert lasts until the version is loaded or the server restarts.",
    )


def _failed_warmup(models: Collection[str], startup_seconds: int) -> Manifest:
    by = "by (instance, model_path)"
    paths = f"(.*/({'|'.join(_quoted(model) for model in sorted(models))})|{_KSERVE_PATH})/[0-9]+"
    return _rule(
        "ModelWarmupFailed",
        f'sum {by} ({_LOADS}{{status="success",model_path=~"{paths}"}}) > 0'
        f' unless sum {by} ({_WARMUPS}{{status="OK"}}) > 0',
        f"{startup_seconds}s",
        "critical",
        "{{ $labels.instance }} loaded {{ $labels.model_path }} and never warmed it up",
        "A warm-up record that fails keeps its version from being served. A server that runs with "
        "--enable_model_warmup=false looks the same.",
    )


def _backlog(model: str, micros: int) -> Manifest:
    delay, ops = f"{_SERVING}:batching:batch_delay_us_v2", batch_ops(model)
    mean = " / ".join(f'sum(rate({delay}_{part}{{op_name=~"{ops}"}}[5m]))' for part in ("sum", "count"))
    return {
        **_rule(
            "ModelBatchesWait",
            f"{mean} > {_TIMEOUTS * micros}",
            "10m",
            "warning",
            f"Batches of {model} wait {{{{ $value | humanize }}}} microseconds, and their timeout is {micros}",
            "They wait for a free thread: the server has more to do than it can. Start another, or batch larger.",
        ),
        "labels": {"severity": "warning", "model_name": model},
    }


def _quoted(model: str) -> str:
    """Return a regular expression for a model's name, for a PromQL string."""
    return re.escape(model).replace("\\", "\\\\")


def _rule(name: str, expression: str, lasting: str, severity: str, summary: str, description: str) -> Manifest:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }
