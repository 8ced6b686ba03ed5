"""What can go wrong in an export, as a user would name it.

The command line turns each into one sentence and an exit status.
"""

import re

# Where in their own code TensorFlow and Keras say something, and the color of Keras's messages.
_PLACES = re.compile(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ?|\[Op:\w+\]( name:)?|\[\[.*?\]\]|(graph )?__inference_\w+(\[\])? ?")
# The words of an assertion in a graph, as they come from a graph and from Python.
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]|Summarized data: b?['\"](.*?)['\"]?$", re.MULTILINE)
# What stands before the sentence that matters.
_HEADINGS = (
    "Exception encountered when calling",
    "Graph execution error",
    "Detected at node",
    "in user code:",
    "File ",
    "Node: ",
)
_LONGEST = 200


class ExportError(Exception):
    """The model, the options or the input cannot be exported as asked; the message says what to change."""


class ValidationError(ExportError):
    """The staged version does not answer as the Keras model does, so it was not published."""


class StoreError(ExportError):
    """The output directory could not be read or written."""


def reason(error: BaseException) -> str:
    r"""Return what TensorFlow or Keras says is wrong: one line of its message, without a full stop.

    Example:
        >>> reason(ValueError("Exception encountered when calling Dense.call().\n\nNo such shape."))
        'No such shape'
    """
    text = _PLACES.sub("", str(error))
    asserted = _ASSERTION.search(text)
    lines = (line.strip() for line in (asserted[1] or asserted[2] if asserted else text).splitlines())
    said = next((line for line in lines if line and not line.startswith(_HEADINGS)), type(error).__name__)
    return f"{said[:_LONGEST]}..." if len(said) > _LONGEST else said.rstrip(". ")
