"""What can go wrong in an export, as a user would name it.

The command line turns each into one sentence and an exit status.
"""

import re

# Colors, and the names of generated functions.
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ?")
# What stands before the sentence that matters.
_HEADINGS = (
    "Exception encountered when calling",
    "Graph execution error",
    "Detected at node",
    "in user code:",
    "File ",
)


class ExportError(Exception):
    """The model, the options or the input cannot be exported as asked; the message says what to change."""


class ProofFailedError(ExportError):
    """The staged version does not answer as the Keras model does, so it was not published."""


class StoreError(ExportError):
    """The output directory could not be read or written."""


def reason(error: BaseException) -> str:
    r"""Return what an error of Keras or TensorFlow says, in one line and without the paragraphs around it.

    Example:
        >>> reason(ValueError("Exception encountered when calling Dense.call().\n\n\x1b[1mIt is broken.\x1b[0m"))
        'It is broken.'
    """
    lines = [line.strip() for line in _DECORATION.sub("", str(error)).splitlines()]
    said = [line for line in lines if line and not line.startswith(_HEADINGS)]
    return said[0].removesuffix(".") if said else type(error).__name__
