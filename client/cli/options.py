"""The options that the commands of `serving-client` share, and the printing of results."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from client.errors import InputError
from signatures.contract.tolerances import CPU, GPU, Tolerances, read_tolerances, with_backbone

F = TypeVar("F", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A finite number in a range. click accepts NaN in every range, and infinity in those without an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number, and refuse it if it is not finite."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


# Seconds, milliseconds and ratios.
POSITIVE = Finite(min=0, min_open=True)


def utf8(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Read a name that is sent to a server. It is UTF-8, independent of the terminal's encoding."""
    try:
        return None if value is None else os.fsencode(value).decode()
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{value!r} is not UTF-8") from error


def all_of(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that gives a command several options, in this order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


version_options = all_of(
    click.option("--version", type=click.IntRange(min=0), help="Ask this version, not the newest."),
    click.option("--label", callback=utf8, help="Ask the version with this label."),
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
tolerance_options = all_of(
    click.option("--gpu", is_flag=True, help="Allow for the TF32 of GPUs."),
    click.option("--rtol", type=Finite(min=0), help="Relative difference allowed to dense scores."),
    click.option("--atol", type=Finite(min=0), help="Absolute difference allowed to dense scores."),
)


def tolerances_of(gpu: bool, rtol: float | None, atol: float | None, file: Path | None = None) -> Tolerances:
    """Return the tolerances that the options select. `file` is an output of `qualify` or `check --json`."""
    if gpu and file is not None:
        raise click.UsageError("give --gpu or --tolerances, not both.")
    measured = GPU if gpu else CPU
    if file is not None:
        try:
            measured = read_tolerances(json.loads(file.read_bytes()))
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror}): pass what qualify wrote") from error
        except ValueError as error:
            raise InputError(f"{file} is not what qualify writes when it finds tolerances: {error}") from error
    try:
        return with_backbone(measured, rtol, atol)
    except ValueError as error:
        raise InputError(str(error)) from error


def show_or_print(value: Any, as_json: bool, shown: Callable[[], None]) -> None:
    """Print the value as one JSON object, or call a function that shows it to people."""
    if as_json:
        print(json.dumps(plain(value), allow_nan=False))
    else:
        shown()


def plain(value: Any) -> Any:
    """Return a value in JSON's types. Numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if field.repr]
        return {name: plain(getattr(value, name)) for name in shown}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
