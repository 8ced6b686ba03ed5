"""Draw docs/demo.svg, the README's picture: run the demo and keep the end of what it prints.

python examples/demo_picture.py
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
WIDTH = 96


def main() -> None:
    """Run what `make demo` runs, in a terminal of fixed width, and draw what comes after the export."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "TERM": "xterm-256color", "PATH": path}
    demo = ["bash", "examples/demo.sh"]
    done = subprocess.run(demo, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    end = done.stdout[done.stdout.index("== serve-model") :].rstrip()
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(end))
    # Rich has the fonts fetched from elsewhere; the reader's own will do.
    svg = re.sub(r"\s*@font-face \{.*?\}\n", "\n", console.export_svg(title="make demo"), flags=re.DOTALL)
    (ROOT / "docs" / "demo.svg").write_text(svg)


if __name__ == "__main__":
    main()
