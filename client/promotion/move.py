"""Moving a version label to another version: in the server's file, then on every replica, or not at all.

There may be two more files next to FILE. FILE.promoting is the content of FILE before a change that is in progress: a
later run restores it if it cannot finish the change. FILE.moved describes the last finished move: its label and its two
versions. This is the only move that a rollback can undo.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from client.check.results import CheckResult
from client.check.three_questions import check
from client.client import ServingClient
from client.errors import ClientError, InputError, ServerError, UnreachableError
from client.promotion.models_config import base_path, labeled_versions, with_label, write_atomically
from client.rpc.calls import Answer, identity_call
from client.rpc.metadata import Target
from client.rpc.sequences import CallSequence, Pause
from client.samples.golden import Expectation
from signatures.contract.tolerances import Tolerances


@dataclass(frozen=True)
class Move:
    """The move of a label from one version to another.

        `old` is None for a new label; `others` are the labels that exist. `found` is the text of the
    file now. `before` is its text before an interrupted change, otherwise the same. `after` is the text to write.
    """

    config: Path
    model: str
    label: str
    old: int | None
    new: int
    others: tuple[str, ...]
    found: str
    before: str
    after: str


class PromoteError(ClientError):
    """A label was not moved. Everything is as it was before, unless the message says otherwise."""


def plan(config: Path, model: str, label: str, version: int) -> Move:
    """Return the move to make. After an interrupted change, it starts from the file before that change."""
    found = before = _text(config)
    if _promoting(config).exists():
        before = _text(_promoting(config))
        moved = labeled_versions(found, model).get(label)
        if found != before and (moved is None or found != with_label(before, model, label, moved)):
            raise InputError(
                f"an earlier move of another label was cut off, or {config} was changed since: finish that move, "
                f"or make the file what it should be and remove {_promoting(config)}"
            )
    after = with_label(before, model, label, version)
    labels = labeled_versions(before, model)
    return Move(config, model, label, labels.get(label), version, tuple(labels), found, before, after)


def previous_version(config: Path, model: str, label: str) -> int:
    """Return the version from which the last move took a label.

    Raises:
        InputError: if there is no such label.
        PromoteError: if the last move was of another label, or if the label is no longer on the version to which that
            move took it. Then there is nothing to go back to.
    """
    text = _text(config)
    labels = labeled_versions(text, model)
    if label not in labels:
        there = ", ".join(labels) or "none at all"
        raise InputError(f"model {model} has no label {label} in {config}, only {there}")
    # A change that was cut off is undone by going back to what was before it; `plan` sees whether it was of this label.
    if _promoting(config).exists() and (before := _text(_promoting(config))) != text:
        old, why = labeled_versions(before, model).get(label), f"the label {label} was new"
    else:
        old, why = _last_move(config, model, label, labels[label])
    if old is None:
        advice = f"to move it, promote --label {label} with the --version that it should have"
        raise PromoteError(f"there is nothing to go back to: {why}; {advice}")
    return old


def version_directory(move: Move) -> Path:
    """Return where the new version lies: below the base_path, or, if that is the server's, below our output."""
    served = Path(base_path(move.before, move.model)) / str(move.new)
    # export-model writes <output>/deploy/models.config beside <output>/<name>/<version>.
    exported = move.config.resolve().parent.parent / served.parent.name / served.name
    return served if served.is_dir() else exported


def check_version(
    clients: Sequence[ServingClient], move: Move, reference: Expectation, tolerances: Tolerances
) -> list[CheckResult]:
    """Check the new version by its number on every replica. Raises PromoteError if it is not loaded there."""
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
    """Change the file, reload every replica, and ask each through the label. Undo everything if anything fails.

    Args:
        clients: a client for each replica.
        move: the move.
        patience: how many seconds a replica may take to answer with the new version.

    Raises:
        PromoteError: if the move failed and was undone.
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
    if move.old != move.new:
        record = {"model": move.model, "label": move.label, "from": move.old, "to": move.new}
        write_atomically(_moved(move.config), (json.dumps(record) + "\n").encode())
    _promoting(move.config).unlink()


def describe(move: Move, addresses: Sequence[str]) -> list[str]:
    """Return the steps of a move, one sentence each."""
    what = f"Label {move.label} of model {move.model}"
    if move.old is None:
        there = f"there are {', '.join(move.others)}" if move.others else "there is none so far"
        step = f"{what} does not exist yet ({there}): create it, on version {move.new}."
    elif move.old == move.new:
        step = f"{what} is on version {move.new} already."
    else:
        step = f"{what}: from version {move.old} to version {move.new}."
    return [step, f"Change {move.config}, then reload and ask {', '.join(addresses)}."]


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
    # Reload every replica even if one fails, so that fewer are left behind.
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


def _moved(config: Path) -> Path:
    return config.with_name(config.name + ".moved")


def _last_move(config: Path, model: str, label: str, now: int) -> tuple[int | None, str]:
    """Return the version that the last move took the label from, or None and why that is not known."""
    file = _moved(config)
    if not file.exists():
        return None, f"no promote was finished yet with {config}"
    try:
        last = json.loads(_text(file))
        moved, old, new = (last["model"], last["label"]), last["from"], last["to"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{file} is not what promote writes: remove it") from error
    if moved != (model, label):
        return None, f"the last move was of label {moved[1]} of model {moved[0]}, from version {old} to version {new}"
    if new != now:
        return None, f"the last move took it to version {new}, and it is on version {now} now"
    return old, f"the label {label} was new"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
