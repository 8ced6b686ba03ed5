"""`export-model` in a real terminal's conditions: interrupts, encodings, what C++ code writes to stderr."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

import exporter.cli.stderr_filter
from exporter.cli.command import main
from exporter.cli.stderr_filter import pass_on

EXPORT_MODEL = Path(sys.executable).with_name("export-model")
CHATTER = [
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    b"I0000 00:00:1795600178.298944   1570 mlir_graph_optimization_pass.cc:1] MLIR V1 optimization pass is not enabled",
    b"2026-01-01 00:00:00.1: W tensorflow/core/kernels/batching.cc:1] Function was cancelled before it was started",
]


def export_model(*arguments, **how):
    return subprocess.run([EXPORT_MODEL, *arguments], capture_output=True, text=True, timeout=200, check=False, **how)


def test_an_interrupt_was_status_1_and_is_130_and_leaves_nothing(tmp_path):
    output, golden = tmp_path / "models", tmp_path / "golden"
    command = [EXPORT_MODEL, "digits", "--output", output, "--golden-output", golden]
    lines = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stderr:
            lines.append(line)
            if "Tracing the signatures" in line:
                # People press Ctrl-C twice; the second must not keep the first from cleaning up.
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert lines[-1] == "export-model: interrupted.\n"
    assert not any("Traceback" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_table_too_wide_for_an_ascii_terminal_was_a_traceback(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"}
    done = export_model("digits", "--output", tmp_path / "models", env=environment)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert "ok Loading TensorFlow" in done.stderr
    assert "Published" in done.stdout

    (tmp_path / "models" / "größe" / "1").mkdir(parents=True)
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for terminal in (environment, plain):
        done = export_model("--list", "--output", tmp_path / "models", env=terminal)
        assert done.returncode == 0, done.stderr
        assert "| gr\\" in done.stdout


def test_an_export_shows_its_steps_and_no_line_of_c_plus_plus(tmp_path):
    done = export_model("digits", "--batching", "in-graph", "--output", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("✓ ")] == []


def test_the_last_words_of_a_process_that_dies_are_passed_on_and_chatter_is_not(tmp_path):
    words = b"\n".join([*CHATTER, b"F0000 a check failed", b"and a half li"])
    (tmp_path / "dies.py").write_text(f"import os\n\n\ndef build():\n    os.write(2, {words!r})\n    os.abort()\n")
    done = export_model(
        "dies:build", cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    )
    assert done.returncode == -signal.SIGABRT
    assert "F0000 a check failed\nand a half li" in done.stderr
    assert "absl" not in done.stderr
    assert "MLIR" not in done.stderr


def passed_on(*writes):
    """What the filter makes of some writes, each seen before the next."""
    source, sink = os.pipe()
    result, target = os.pipe()
    filtering = threading.Thread(target=pass_on, args=(source, target))
    filtering.start()
    for text in writes:
        os.write(sink, text)
    os.close(sink)
    filtering.join()
    os.close(target)
    os.close(source)
    with os.fdopen(result, "rb") as stream:
        return stream.read()


@pytest.mark.parametrize("line", CHATTER)
def test_known_lines_are_filtered_whole_and_wherever_a_write_cuts_them(line, monkeypatch):
    monkeypatch.setattr(exporter.cli.stderr_filter, "_SECONDS", 60)
    assert passed_on(line + b"\n") == b""
    assert passed_on(b"before\n" + line[:20], line[20:] + b"\nafter\n") == b"before\nafter\n"


def test_all_else_passes_through_as_it_is():
    text = (
        b"E0000 00:00:1 cuda.cc:1] failed to initialize CUDA\n\n\x1b[1m\xff 10%\r 20%\r\nquoted: '"
        + CHATTER[0]
        + b"'\n\tend"
    )
    assert passed_on(text) == text
    assert passed_on(b"") == b""


def test_progress_without_a_line_end_is_shown_before_the_line_ends():
    source, sink = os.pipe()
    result, target = os.pipe()
    filtering = threading.Thread(target=pass_on, args=(source, target))
    filtering.start()
    os.write(sink, b"downloading: 10%")
    assert os.read(result, 100) == b"downloading: 10%"
    os.write(sink, b" 20%")
    assert os.read(result, 100) == b" 20%"
    os.close(sink)
    filtering.join()
    for descriptor in (source, result, target):
        os.close(descriptor)


def test_version_without_a_number_shows_the_programs_and_loads_no_tensorflow():
    code = (
        "import sys; sys.argv = ['export-model', '--version']; import exporter.cli.command; exporter.cli.command.main()"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    name, _, number = done.stdout.strip().partition(" ")
    assert name == "export-model"
    assert number[0].isdecimal()
    assert "tensorflow" not in done.stderr


def test_printed_commands_can_be_pasted_wherever_the_output_lies(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid")]).save(tmp_path / "toy.keras")
    output = tmp_path / "it's a $HOME"
    done = CliRunner().invoke(main, [str(tmp_path / "toy.keras"), "--output", str(output)])
    assert done.exit_code == 0, done.stderr
    commands = {words[0]: words for words in map(shlex.split, done.stdout.splitlines()[-4:]) if len(words) > 1}
    config = f"--model_config_file={output / 'deploy' / 'local' / 'models.config'}"
    assert config in commands["serve-model"]
    assert commands["serving-client"][-1] == str(output / "toy" / "1")
