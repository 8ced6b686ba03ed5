"""Import a user's modules from the working directory, as Python does for a script there."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from exporter.errors import ExportError, reason

# Our packages that an export uses. A user's module with such a name would be mistaken for ours, or ours for it.
_OURS = ("exporter", "server", "signatures")


def import_module(name: str) -> Any:
    """Import a module, which may be in the working directory.

    Raises:
        ExportError: when it is not found, fails, or has the name of one of our packages.

    Example:
        >>> import_module("json").loads("[1]")
        [1]
    """
    package = name.partition(".")[0]
    if package in _OURS and _in_working_directory(package):
        raise ExportError(f"The module {name} has the name of a package of sparsehead: rename it.")
    with _working_directory_first():
        try:
            return importlib.import_module(name)
        except Exception as error:  # Whatever a user's module may raise.
            raise ExportError(f"The module {name} could not be imported: {_message(error)}.") from error


def call(module: str, function: str) -> Any:
    """Call a function without arguments.

    Raises:
        ExportError: when there is no such function, or it fails.

    Example:
        >>> call("time", "sleep")
        Traceback (most recent call last):
        exporter.errors.ExportError: time:sleep failed: ...
    """
    found = getattr(import_module(module), function, None)
    if not callable(found):
        raise ExportError(f"The module {module} has no function {function!r}.")
    with _working_directory_first():
        try:
            return found()
        except ExportError:
            raise
        except Exception as error:  # Whatever a user's function may raise.
            raise ExportError(f"{module}:{function} failed: {_message(error)}.") from error


@contextmanager
def _working_directory_first() -> Iterator[None]:
    """Let Python search the working directory first, but not for our own packages: these are imported already."""
    importlib.import_module("exporter.pipeline")
    directory = str(Path.cwd())
    # The user's module may have been written a moment ago.
    importlib.invalidate_caches()
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _in_working_directory(package: str) -> bool:
    """Return whether the working directory has a module or a package of this name that is not ours."""
    directory = Path.cwd()
    found = [directory / f"{package}.py", directory / package]
    ours = Path(__file__).parents[2] / package
    return any(path.exists() and path.resolve() != ours.resolve() for path in found)


def _message(error: Exception) -> str:
    """Return what an error says, and where in the user's code it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    message = reason(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {reason(error)}"
    if len(frames) < 2:
        return message
    return f"{message} ({frames[-1].filename}, line {frames[-1].lineno})"
