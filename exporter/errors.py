"""What can go wrong in an export, as a user would name it.

The command line turns each into one sentence and an exit status.
"""


class ExportError(Exception):
    """The model, the options or the input cannot be exported as asked; the message says what to change."""


class ProofFailedError(ExportError):
    """The staged version does not answer as the Keras model does, so it was not published."""


class StoreError(ExportError):
    """The output directory could not be read or written."""
