"""The blocks of code in README.md, CONTRIBUTING.md and docs/."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {
    str(file.relative_to(ROOT)): file.read_text("utf-8")
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>.*)\n(?P<text>(?:.*\n)*?)(?P=indent)```$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the file that it is in.
        line: where its fence opens.
        language: what follows the fence: sh, python, json, ...
        text: what is in it.
        saved_as: the file that the paragraph before tells the reader to save it as; empty if it does not.
    """

    page: str
    line: int
    language: str
    text: str
    saved_as: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.first_line}"


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in order."""
    source = PAGES[page]
    found = []
    for match in _FENCED.finditer(source):
        before = source[: match.start()].rstrip()
        named = re.search(r"`([\w.-]+\.\w+)`:$", before)
        found.append(
            Block(
                page,
                source.count("\n", 0, match.start()) + 1,
                match["language"],
                re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE),
                named[1] if named else "",
            )
        )
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]


def without_fences(page: str) -> str:
    """Return what is left of a page without its fenced blocks."""
    return _FENCED.sub("", PAGES[page])
