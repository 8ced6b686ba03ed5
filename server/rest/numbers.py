"""Doubles and floats as the server reads and writes them in JSON."""

import math
from typing import Any

import numpy as np

# Up to this one, every integer is exactly a double.
_MAX_EXACT = (1 << 53) - 1
_MAX_UINT64 = (1 << 64) - 1
_SIGNIFICANT_DIGITS = 17


def read_double(text: str) -> float:
    """Read a JSON number with a fraction or an exponent as rapidjson does, which may be off in the last digit.

    Example:
        >>> read_double("0.9448999762535095")
        0.9448999762535096

    """
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    number: float = int(whole)
    if number > _MAX_UINT64:
        number = float(number)
    digits, scale = len(whole) - 1, int(exponent or 0)
    for digit in fraction:
        if isinstance(number, int) and number > _MAX_EXACT:
            number = float(number)
        if isinstance(number, float) and digits >= _SIGNIFICANT_DIGITS:
            break
        number = number * 10 + int(digit)
        scale -= 1
        digits += number > 0
    number = float(number)
    for part in (-308, scale + 308) if scale < -308 else (scale,):
        number = 0.0 if part < -308 else number * float(f"1e{part}") if part >= 0 else number / float(f"1e{-part}")
    return -number if text.startswith("-") else number


def write_doubles(values: np.ndarray[Any, Any]) -> list[str]:
    """Write float32 or float64 numbers with six digits if these are exact, or else with as many as needed.

    Example:
        >>> write_doubles(np.float32([0.2, 1, 0.801258862, 9e6, np.nan]))
        ['0.2', '1.0', '0.801258862', '9e+06', 'NaN']

    """
    numbers = values.ravel().tolist()
    short = [f"{number:g}" for number in numbers]
    exact = np.array([float(text) for text in short], values.dtype).tolist()
    precision = 9 if values.dtype == np.float32 else 17
    return [
        _with_point(text) if number == found else _with_point(f"{number:.{precision}g}")
        for number, text, found in zip(numbers, short, exact, strict=True)
    ]


def write_double(value: float) -> str:
    """Write a number from a request as a float if it fits one, or else as a double."""
    fits = not math.isfinite(value) or abs(value) <= float(np.finfo(np.float32).max)
    return write_doubles(np.array([value], np.float32 if fits else np.float64))[0]


def write_quoted_double(value: float) -> str | None:
    """Write a double inside a quoted list or object; return None if the server cannot write it there."""
    if not math.isfinite(value):
        return None
    text = repr(value)
    if "e" not in text:
        return text
    digits, _, exponent = text.partition("e")
    power = int(exponent)
    if 0 <= power < 21:
        return f"{value:.0f}.0"
    if -7 <= power < 0:
        return f"{value:.{len(digits.lstrip('-').replace('.', '')) - 1 - power}f}"
    return f"{digits.removesuffix('.0')}e{power}"


def _with_point(text: str) -> str:
    if text in ("nan", "inf", "-inf"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[text]
    return text if "." in text or "e" in text else f"{text}.0"
