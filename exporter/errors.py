"""The errors of an export. The command line turns each into one sentence and an exit status."""

import re

# Places in the code of TensorFlow and Keras that their messages name, and the colors of Keras's messages.
_PLACES = re.compile(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ?|\[Op:\w+\]( name:)?|\[\[.*?\]\]|(graph )?__inference_\w+(\[\])? ?")
# The message of a failed assertion, as a graph and as eager code report it.
_ASSERTION = re.compile(r"assertion failed: \[(.*)\]|Summarized data: b?['\"](.*?)['\"]?$", re.MULTILINE)
# The beginnings of lines that come before the sentence that matters.
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
    """The model, an option or the samples cannot be exported; the message says what to change.

    Example:
        >>> Classifier(model, "deploy")
        Traceback (most recent call last):
        ...
        exporter.errors.ExportError: 'deploy' cannot be a model's name: use letters, ...
    """


class ValidationError(ExportError):
    """The staged version does not answer as the Keras model does, or misses a required quality: it is not published.

    Example:
        >>> from exporter.validation.quality import require_quality
        >>> require_quality(None, min_exact_match=0.9, min_f1=None)
        Traceback (most recent call last):
        ...
        exporter.errors.ValidationError: --min-exact-match needs labeled samples, ...
    """


class StoreError(ExportError):
    """The output directory cannot be read or written, or a version number was used before.

    Example:
        >>> VersionStore(Path("models/digits")).next_version(0)
        Traceback (most recent call last):
        ...
        exporter.errors.StoreError: Version 0 of models/digits cannot be published: ...
    """


def reason(error: BaseException) -> str:
    r"""Return the line of a TensorFlow or Keras error that says what is wrong, without a period.

    Example:
        >>> reason(ValueError("Exception encountered when calling Dense.call().\n\nNo such shape."))
        'No such shape'
    """
    text = _PLACES.sub("", str(error))
    asserted = _ASSERTION.search(text)
    lines = (line.strip() for line in (asserted[1] or asserted[2] if asserted else text).splitlines())
    sentence = next((line for line in lines if line and not line.startswith(_HEADINGS)), type(error).__name__)
    return f"{sentence[:_LONGEST]}..." if len(sentence) > _LONGEST else sentence.rstrip(". ")
