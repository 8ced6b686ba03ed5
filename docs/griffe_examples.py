"""For `make docs`: our docstrings have an Example, and the site renders Examples."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
