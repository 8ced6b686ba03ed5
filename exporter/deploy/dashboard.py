"""A dashboard for Grafana with the same metrics as the alert rules."""

import json

from exporter.deploy.files import Manifest
from exporter.deploy.templates import fill_documents

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS, _WIDTH, _HEIGHT = 24, 12, 8


def dashboard_file() -> str:
    """Return the dashboard as the JSON that Grafana imports."""
    (dashboard,) = fill_documents("dashboard.yaml", {})
    dashboard["panels"] = [_panel(number, **graph) for number, graph in enumerate(dashboard["panels"])]
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"


def _panel(number: int, title: str, unit: str, queries: dict[str, str], description: str = "") -> Manifest:
    per_row = _COLUMNS // _WIDTH
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": _DATASOURCE,
        "gridPos": {
            "x": number % per_row * _WIDTH,
            "y": number // per_row * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": _DATASOURCE, "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(queries.items())
        ],
    }
