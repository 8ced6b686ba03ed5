"""`serving-client qualify` against the stand-in with the preset digits, in a time that tests have."""

import json

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client.cli.commands import run
from server import ModelServer, Settings


@pytest.fixture(scope="module")
def server(digits_output, free_port, tmp_path_factory):
    monitoring = tmp_path_factory.mktemp("server") / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")
    settings = Settings(
        model_name="digits",
        model_base_path=str(digits_output / "digits"),
        rest_api_port=free_port(),
        monitoring_config_file=monitoring,
        grpc_max_threads=80,
    )
    with ModelServer(settings) as server:
        yield server


def test_digits_are_qualified_and_checked_with_their_own_tolerances(server, digits_version, tmp_path, capfd):
    given = ["--address", f"localhost:{server.port}", "--model", "digits"]
    options = ["--golden", str(digits_version), "--rest", f"localhost:{server.rest_port}", "--output", str(tmp_path)]
    # However slow the machine is, there is time for the dense scores; the load takes what is left.
    assert run([*given, "qualify", *options, "--minutes", "0.2", "--json"]) in (0, 1)
    found = json.loads((tmp_path / "qualification.json").read_text())
    assert json.loads(capfd.readouterr().out) == found
    assert [size["batch"] for size in found["deviation"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert found["tolerances"]["backbone"]["atol"] < 1e-4
    assert found["metrics"]["memory_told"] == "The server's metrics do not report memory."
    assert not found["metrics"]["gpu_confirmed"]
    assert (tmp_path / "qualification.html").read_text().endswith("</html>\n")
    file = str(tmp_path / "qualification.json")
    assert run([*given, "check", "--golden", str(digits_version), "--tolerances", file]) == 0
