"""Draw docs/demo.svg, the README's picture: run the demo and keep the end of what it prints.

python examples/demo_picture.py
"""

import io
import os
import subprocess
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 96


def main() -> None:
    """Run `make demo` as a terminal of fixed width would show it, and draw what comes after the export."""
    environment = os.environ | {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    end = done.stdout[done.stdout.index("== serve-model") :].rstrip()
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(end))
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo")


if __name__ == "__main__":
    main()
