"""A dashboard for Grafana with the same metrics as the alert rules."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.deploy.alerts import JOB
from exporter.deploy.files import Manifest

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 24, 12, 8

_SERVING = ":tensorflow:serving"
_REQUESTS = f'{_SERVING}:request_count{{model_name=~"$model"}}'
_FAILURES = f'{_SERVING}:request_count{{model_name=~"$model",status=~"INTERNAL|UNAVAILABLE"}}'
_LATENCY = f'{_SERVING}:request_latency_bucket{{model_name=~"$model"}}'
_RUN = f'{_SERVING}:runtime_latency_bucket{{model_name=~"$model"}}'
_BATCHING = f"{_SERVING}:batching"
_SESSION = f"{_SERVING}:batching_session"


@dataclass(frozen=True)
class _Graph:
    """One panel of lines over time; `unit` is in Grafana's terms, `queries` are PromQL expressions with legends."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    description: str = ""


def _rate(series: str) -> str:
    return f"rate({series}[$__rate_interval])"


def _mean(metric: str, by: str) -> str:
    """Return the mean of a histogram's samples, which is exact whatever its buckets are."""
    return f"sum by ({by}) ({_rate(f'{metric}_sum')}) / sum by ({by}) ({_rate(f'{metric}_count')})"


def _quantile(share: float, buckets: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) ({_rate(buckets)}))"


_ENTRY = "model_name, API, entrypoint"
_ENTRY_LEGEND = "{{model_name}} {{API}} {{entrypoint}}"
_BUCKETS = "Buckets grow by 1.8, and so far off a quantile may be."

_GRAPHS = (
    _Graph(
        "Requests",
        "reqps",
        [(f"sum by (model_name, status) ({_rate(_REQUESTS)})", "{{model_name}} {{status}}")],
    ),
    _Graph(
        "Share of INTERNAL and UNAVAILABLE",
        "percentunit",
        [
            (
                f"sum by (model_name) ({_rate(_FAILURES)}) / sum by (model_name) ({_rate(_REQUESTS)})",
                "{{model_name}}",
            )
        ],
        "The server's own failures. Requests that callers got wrong are not among them.",
    ),
    _Graph(
        "Latency of good answers, p50 and p99",
        "µs",
        [
            (_quantile(0.99, _LATENCY, _ENTRY), f"p99 {_ENTRY_LEGEND}"),
            (_quantile(0.5, _LATENCY, _ENTRY), f"p50 {_ENTRY_LEGEND}"),
        ],
        _BUCKETS,
    ),
    _Graph(
        "Time in the graph, p99",
        "µs",
        [(_quantile(0.99, _RUN, "model_name, API, runtime"), "{{model_name}} {{API}} {{runtime}}")],
        _BUCKETS,
    ),
    _Graph(
        "Loads since the server started",
        "short",
        [
            (
                "sum by (instance, model_path, status) (:tensorflow:cc:saved_model:load_attempt_count)",
                "{{instance}} {{model_path}} {{status}}",
            )
        ],
        "A version that failed is tried again some times, then left until the server restarts.",
    ),
    _Graph(
        "Warm-up, mean time",
        "µs",
        [
            (
                f"sum by (instance, model_path, status) ({_SERVING}:model_warmup_latency_sum)"
                f" / sum by (instance, model_path, status) ({_SERVING}:model_warmup_latency_count)",
                "{{instance}} {{model_path}} {{status}}",
            )
        ],
        "Any status but OK keeps a version from being served.",
    ),
    _Graph(
        "Batching in the graph: mean delay",
        "µs",
        [(_mean(f"{_BATCHING}:batch_delay_us_v2", "op_name"), "{{op_name}}")],
        "Near the timeout while there are threads to run a batch; far above it when there are not.",
    ),
    _Graph(
        "Batching in the graph: mean examples a request, a batch, and padding",
        "short",
        [
            (_mean(f"{_BATCHING}:input_batch_size_v2", "op_name"), "request {{op_name}}"),
            (_mean(f"{_BATCHING}:batch_size", "op_name"), "batch {{op_name}}"),
            (_mean(f"{_BATCHING}:padding_size_v2", "op_name"), "padding {{op_name}}"),
        ],
    ),
    _Graph(
        "Batching by the server: mean wait",
        "µs",
        [(_mean(f"{_SESSION}:queuing_latency", "thread_pool_name"), "{{thread_pool_name}}")],
        "Only where the server runs with --enable_batching.",
    ),
    _Graph("Servers that Prometheus reaches", "short", [(f'sum(up{{job="{JOB}"}})', "up")]),
)


def dashboard_file() -> str:
    """Return the dashboard as the JSON that Grafana imports."""
    dashboard = {
        "uid": "tensorflow-serving",
        "title": "TensorFlow Serving",
        "tags": ["tensorflow-serving"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), _model()]},
        "panels": [_panel(number, graph) for number, graph in enumerate(_GRAPHS)],
    }
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def _datasource() -> Manifest:
    return {"name": "datasource", "type": "datasource", "label": "Prometheus", "query": "prometheus"}


def _model() -> Manifest:
    query = f"label_values({_SERVING}:request_count, model_name)"
    return {
        "name": "model",
        "type": "query",
        "label": "Model",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": "model"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, graph: _Graph) -> Manifest:
    per_row = _COLUMNS // _WIDTH
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": graph.title,
        "description": graph.description,
        "datasource": _DATASOURCE,
        "gridPos": {
            "x": number % per_row * _WIDTH,
            "y": number // per_row * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": graph.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _DATASOURCE, "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(graph.queries)
        ],
    }
