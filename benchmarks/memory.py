"""The estimate of a version's memory against what the stand-in server takes when it loads the version.

    python benchmarks/memory.py models/digits models/mobilenetv2 models/resnet18

For each base path a process of its own serves the first one, so that what TensorFlow needs once is not counted, and
then loads this one beside it, warm-up included. Compared are the growth of its resident memory and the estimate, for
one run of the largest batch that is warmed up.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from exporter.store.versions import VersionStore
from signatures.contract.record import ExportRecord

_WITHOUT_BATCHING = 4


def resident() -> int:
    """Return this process's resident memory in bytes."""
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def measure(first: str, base_path: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from exporter.memory import estimate_memory
    from server import ModelServer, Settings

    version = Path(base_path) / str(VersionStore(Path(base_path)).versions()[-1])
    record = ExportRecord.read(version)
    estimate = estimate_memory(version, record.memory["batch"] if record.memory else _WITHOUT_BATCHING)
    with ModelServer(Settings(model_name="first", model_base_path=Path(first).resolve())):
        before = resident()
        with ModelServer(Settings(model_name="measured", model_base_path=Path(base_path).resolve())):
            grown = resident() - before
    parts = ", ".join(
        f"{name} {getattr(estimate, name) / 1e6:.1f}" for name in ("weights", "constants", "activations", "graph")
    )
    print(
        f"{Path(base_path).name}: estimate {estimate.total / 1e6:.1f} MB ({parts}), measured {grown / 1e6:.1f} MB, "
        f"ratio {estimate.total / grown:.2f}"
    )


def main() -> None:
    if sys.argv[1] == "--one":
        measure(*sys.argv[2:])
        return
    for base_path in sys.argv[1:]:
        words = [sys.executable, __file__, "--one", sys.argv[1], base_path]
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
