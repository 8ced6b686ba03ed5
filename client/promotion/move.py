"""Moving a version label to another version: in the server's file, then on every replica, or not at all.

Beside FILE two others may lie. FILE.promoting is what FILE was before a change that is under way: a later run puts it
back if it cannot finish. FILE.previous is what FILE was before the last change that was finished: what a rollback
goes back to.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.check.results import CheckResult
from client.check.three_questions import check
from client.client import ServingClient
from client.errors import ClientError, InputError, ServerError, UnreachableError
from client.promotion.models_config import base_path, label_version, with_label, write_atomically
from client.rpc.calls import Answer, identity_call
from client.rpc.metadata import Target
from client.rpc.sequences import CallSequence, Pause
from client.samples.golden import Reference
from signatures.contract.judge import Tolerances


@dataclass(frozen=True)
class Move:
    """A label's way from one version to another.

    found: the text of the file as it is now. before: as it was before a change that was cut off, else the same.
    after: as it will be.
    """

    config: Path
    model: str
    label: str
    old: int | None
    new: int
    found: str
    before: str
    after: str


class PromoteError(ClientError):
    """A label was not moved, and everything is as it was, or the message says what is not."""


def plan(config: Path, model: str, label: str, version: int) -> Move:
    """Return what is to be done; a change that was cut off is taken up from what the file was before it."""
    found = before = _text(config)
    if _promoting(config).exists():
        before = _text(_promoting(config))
        moved = label_version(found, model, label)
        if found != before and (moved is None or found != with_label(before, model, label, moved)):
            raise InputError(
                f"an earlier move was cut off, and {config} was changed since: make it what it should be, then remove "
                f"{_promoting(config)}"
            )
    after = with_label(before, model, label, version)
    return Move(config, model, label, label_version(before, model, label), version, found, before, after)


def previous_version(config: Path, model: str, label: str) -> int:
    """Return the version that had the label before it was last moved; raises InputError where that is not known."""
    # A change that was cut off is undone by going back to what was before it.
    for file in (_promoting(config), _previous(config)):
        if file.exists() and (version := label_version(_text(file), model, label)) is not None:
            return version
    raise InputError(f"{_previous(config)} does not say which version had the label {label}: use promote --version")


def version_directory(move: Move) -> Path:
    """Return where the new version lies: below the base_path, or, if that is the server's, below our output."""
    served = Path(base_path(move.before, move.model)) / str(move.new)
    # export-model writes <output>/deploy/models.config beside <output>/<name>/<version>.
    exported = move.config.resolve().parent.parent / served.parent.name / served.name
    return served if served.is_dir() else exported


def check_version(
    clients: Sequence[ServingClient], move: Move, reference: Reference, tolerances: Tolerances
) -> list[CheckResult]:
    """Check the new version by its number on every replica; raises PromoteError where it is not loaded."""
    results = []
    for client in clients:
        try:
            statuses = client.status(version=move.new)
        except UnreachableError:
            raise
        except ServerError as error:
            raise PromoteError(f"version {move.new} is not loaded at {client.address}: {error}") from error
        if not any(status.version == move.new and status.state == "AVAILABLE" for status in statuses):
            states = ", ".join(status.state for status in statuses)
            raise PromoteError(f"version {move.new} is not available at {client.address}, but {states}")
        target = Target(move.model, move.new)
        results.append(client.run(check(client.address, target, reference, tolerances)))
    return results


def carry_out(clients: Sequence[ServingClient], move: Move, patience: float = 10.0) -> None:
    """Change the file, reload every replica, and ask each through the label; put all back if anything fails.

    patience: seconds that a replica may take to answer with the new version. Raises PromoteError when it was put back.
    """
    if _text(move.config) != move.found:
        raise InputError(f"{move.config} was changed while version {move.new} was checked: run it again")
    write_atomically(_promoting(move.config), move.before.encode())
    try:
        _apply(clients, move, move.after, move.new, patience)
    except (ClientError, OSError) as error:
        try:
            _apply(clients, move, move.before, move.old, patience)
        except (ClientError, OSError) as second:
            raise PromoteError(
                f"{error}; {move.config} is {_state(move)}, but putting all back failed too: {second}; run it again"
            ) from second
        _promoting(move.config).unlink(missing_ok=True)
        raise PromoteError(f"{error}; the file and every replica are as they were") from error
    if move.before == move.after:
        _promoting(move.config).unlink()
    else:
        _promoting(move.config).replace(_previous(move.config))


def describe(move: Move, addresses: Sequence[str]) -> list[str]:
    """Return what a move will do, a sentence each."""
    old = "no version" if move.old is None else f"version {move.old}"
    return [
        f"Label {move.label} of model {move.model}: from {old} to version {move.new}.",
        f"Change {move.config}, then reload and ask {', '.join(addresses)}.",
    ]


def _apply(clients: Sequence[ServingClient], move: Move, text: str, version: int | None, patience: float) -> None:
    write_atomically(move.config, text.encode())
    failures = []
    for client in clients:
        try:
            client.reload(text)
            if version is not None:
                client.run(_seen(Target(move.model, label=move.label), version, time.monotonic() + patience))
        except ClientError as error:
            failures.append(error)
    # Every replica was told before one that failed ends it: fewer are left behind.
    if failures:
        raise failures[0]


def _seen(target: Target, version: int, deadline: float) -> CallSequence[None]:
    """Ask through the label until the version answers."""
    while True:
        answer: Answer = yield identity_call(target)
        if answer.version == version:
            return
        if time.monotonic() > deadline:
            raise PromoteError(f"version {answer.version} answers to the label {target.label}, not version {version}")
        yield Pause(0.2)


def _state(move: Move) -> str:
    current = _text(move.config)
    return "as it was" if current == move.before else "changed" if current == move.after else "neither old nor new"


def _promoting(config: Path) -> Path:
    return config.with_name(config.name + ".promoting")


def _previous(config: Path) -> Path:
    return config.with_name(config.name + ".previous")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
