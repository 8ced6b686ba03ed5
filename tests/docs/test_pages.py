"""Every command and program in README.md and docs/ runs, in order, in a directory of the page's own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from exporter.deploy import write_server_files
from server import ModelServer, Settings

from .blocks import BLOCKS, PAGES
from .not_run import NOT_RUN
from .readers import READERS, Reader

RUN = {page: [] for page in PAGES}
for block in BLOCKS:
    if block.saved_as or (block.language in ("sh", "python") and (block.page, block.first_line) not in NOT_RUN):
        RUN[block.page].append(block)
# A reader sees the server's lines before going on.
STARTED = re.compile(r"^(serve-model (?:.*\\\n)*.*--port=(\d+)(?:.*\\\n)*.* &)$", re.MULTILINE)
WAIT = r"\1\nuntil (echo > /dev/tcp/localhost/\2) 2> /dev/null; do kill -0 $! || exit 1; sleep 0.1; done"


@contextmanager
def shell(environment):
    """Yield a function that runs a block in bash and lets its background jobs live until the page ends."""
    groups = []

    def run(script):
        with Path("shell.log").open("a+") as log:
            started = subprocess.Popen(
                ["bash", "-eo", "pipefail", "-c", script],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            groups.append(started.pid)
            return started.wait(timeout=300)

    try:
        yield run
    finally:
        for group in groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:  # The block left nothing behind.
                continue


@contextmanager
def serving(reader, published, port, rest_port):
    """Put the models where the reader has them, and serve them if the reader does."""
    if not (reader.models or reader.served):
        yield
        return
    models = Path("models")
    shutil.copytree(published, models, ignore=shutil.ignore_patterns("deploy"))
    for version in (1, 2):
        for model in ("digits", "topics"):
            if version == 2:
                shutil.copytree(models / model / "1", models / model / "2")
            write_server_files(models, model, version, serving_root=str(models.resolve()))
    if not reader.served:
        yield
        return
    settings = Settings(
        port=int(port),
        rest_api_port=int(rest_port),
        grpc_max_threads=64,
        model_config_file=Path("models/deploy/models.config").resolve(),
        model_config_file_poll_wait_seconds=1,
        allow_version_labels_for_unavailable_models=True,
    )
    with ModelServer(settings):
        yield


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", [page for page, found in RUN.items() if found])
def test_the_page_works_as_it_stands(page, published, commands, free_port, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = READERS.get(page, Reader())
    port, rest_port, other = (str(free_port()) for _ in range(3))
    instead = {**reader.instead, "8500": port, "8501": rest_port, "8502": other}
    path = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    names = {"__name__": "__main__"}
    with serving(reader, published, port, rest_port), shell({**os.environ, "PATH": path, "COLUMNS": "110"}) as run:
        if reader.has is not None:
            reader.has()
        exec(reader.knows, names)
        for block in RUN[page]:
            text = block.text
            for old, new in instead.items():
                text = text.replace(old, new.replace("{here}", str(tmp_path)))
            if block.saved_as:
                Path(block.saved_as).write_text(text)
            elif block.language == "python":
                exec(compile(text, str(block), "exec"), names)
            else:
                status = run(STARTED.sub(WAIT, text))
                assert status == 0, f"{block}\nended with status {status}:\n{Path('shell.log').read_text()[-4000:]}"
