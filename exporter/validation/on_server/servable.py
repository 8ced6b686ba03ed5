"""What a server under test serves, and how: the flags and the files that the deployed server gets too."""

from dataclasses import dataclass
from pathlib import Path

from exporter.deploy.messages import batching_config, metrics_config
from exporter.deploy.models_config import MODELS_CONFIG, only_version
from exporter.deploy.server_files import DIRECTORY
from exporter.deploy.start import BATCHING_CONFIG, MONITORING_CONFIG, ServerStart
from exporter.options import ExportOptions
from exporter.store.follow_up import server_parameters


@dataclass(frozen=True, kw_only=True)
class Servable:
    """A staged version, and what its server needs to know.

    Attributes:
        directory: where the version is.
        model: the name that it is served under.
        version: the number that it will have.
        golden: the file of its golden records.
        start: how the deployed server will start.
        batching: the text of the server's batching.config, or None if the server merges no requests.
    """

    directory: Path
    model: str
    version: int
    golden: Path
    start: ServerStart
    batching: str | None = None

    @property
    def patience(self) -> int:
        """How many seconds the version may take to become available."""
        return self.start.startup_seconds

    def path_under(self, root: str) -> str:
        """Return the version's path for a server that sees the output directory at `root`."""
        return f"{root.rstrip('/')}/{self.model}/{self.version}"

    def write_files(self, directory: Path, root: str) -> None:
        """Write the files that the flags name, for a server that sees the output directory at `root`."""
        directory.mkdir(parents=True, exist_ok=True)
        base_path = f"{root.rstrip('/')}/{self.model}"
        (directory / MODELS_CONFIG).write_text(only_version(self.model, self.version, base_path), encoding="utf-8")
        (directory / MONITORING_CONFIG).write_text(metrics_config(), encoding="utf-8")
        if self.batching is not None:
            (directory / BATCHING_CONFIG).write_text(self.batching, encoding="utf-8")


def flags_of(start: ServerStart) -> list[str]:
    """Return the server's flags. A failed load is not retried, because nothing changes in between."""
    return start.flags_for(f"{start.directory}/{MODELS_CONFIG}", "--max_num_load_retries=0")


def batching_of(output: Path, options: ExportOptions) -> str | None:
    """Return the batching.config that the deployed server will have: this export's, or the one in use."""
    if options.server_batching is not None:
        return batching_config(server_parameters(options.server_batching))
    file = output / DIRECTORY / BATCHING_CONFIG
    return file.read_text(encoding="utf-8") if file.is_file() else None
