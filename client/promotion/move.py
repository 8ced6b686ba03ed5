"""Moving a version label to another version: in the server's file, then on every replica, or not at all.

The beginning of a line in the history is written first and its end last (see `client.promotion.history`). If a move was
cut off in between, the next one settles it: a promotion is put back, unless it is run again, and a rollback is
finished. During a move, a lock on the file's folder keeps other moves and exports out. Programs that ignore the lock
may change the file at any time: their changes are kept, except those of the label that moves.
"""

import socket
import time
from collections.abc import Sequence
from pathlib import Path

from client.check.results import CheckResult
from client.check.three_questions import check
from client.client import ServingClient
from client.errors import ClientError, InputError, ServerError, UnreachableError
from client.promotion import history
from client.promotion.history import Entry
from client.promotion.models_config import labeled_versions, replace_text, with_label
from client.promotion.plan import (
    Move,
    PromoteError,
    cut_off_move,
    file_name,
    locked_config,
    moved_to,
    safe_version,
    text_of,
)
from client.rpc.calls import metadata_call
from client.rpc.metadata import Metadata, Target
from client.rpc.sequences import CallSequence, Pause
from client.samples.golden import Expectation
from signatures.contract.tolerances import Tolerances


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


def entry_of(move: Move, clients: Sequence[ServingClient]) -> Entry:
    """Return the history's entry for a move, without verdict, message and export."""
    return Entry(
        time=history.now(),
        user=history.user(),
        host=socket.gethostname(),
        command=move.command,
        file=file_name(move.config),
        model=move.model,
        label=move.label,
        old=move.old,
        new=move.new,
        replicas=tuple(client.address for client in clients),
    )


def carry_out(clients: Sequence[ServingClient], move: Move, entry: Entry, patience: float = 10.0) -> None:
    """Change the file, reload every replica, and call each through the label. Undo everything if anything fails.

    Args:
        clients: a client for each replica.
        move: the move.
        entry: the history's entry for it.
        patience: how many seconds a replica may take to answer with the new version.

    Raises:
        InputError: if the file was changed since the move was planned.
        PromoteError: if the move failed and was undone, or if another move is being made.
    """
    with locked_config(move.config):
        if (text_of(move.config), cut_off_move(move.config)) != (move.found, move.cut_off):
            raise InputError(f"{move.config} was changed while version {move.new} was checked: run it again")
        before = move.found
        if move.cut_off is not None and not move.continues:
            before = _settle(clients, move.config, move.cut_off, patience)
            if move.settles:
                return
        after = with_label(before, move.model, move.label, move.new)
        if move.old == move.new:
            _apply(clients, move.config, before, after, (move.model, move.label), patience)
            return
        if not move.continues:
            history.begin(move.config, entry)
        try:
            _apply(clients, move.config, before, after, (move.model, move.label), patience)
        except (ClientError, OSError, KeyboardInterrupt) as error:
            _take_back(clients, move.config, entry, error, patience)
        history.end(move.config, history.MOVED)


def _take_back(
    clients: Sequence[ServingClient],
    config: Path,
    entry: Entry,
    error: ClientError | OSError | KeyboardInterrupt,
    patience: float,
) -> None:
    """Undo a move that failed, and raise PromoteError; after Ctrl-C, KeyboardInterrupt."""
    try:
        _leave_on(clients, config, entry, entry.old, patience)
    except (ClientError, OSError) as second:
        raise PromoteError(f"{error}; putting all back failed too: {second}; run it again") from second
    history.end(config, history.PUT_BACK, str(error) or "interrupted")
    if isinstance(error, KeyboardInterrupt):
        raise error
    raise PromoteError(f"{error}; the file and every replica are as they were") from error


def _settle(clients: Sequence[ServingClient], config: Path, cut_off: Entry, patience: float) -> str:
    """Put back a promotion that was cut off, or finish a rollback; return the text of the file."""
    text = _leave_on(clients, config, cut_off, safe_version(cut_off), patience)
    history.end(config, history.MOVED if cut_off.command == history.ROLLBACK else history.CUT_OFF)
    return text


def _leave_on(
    clients: Sequence[ServingClient], config: Path, entry: Entry, version: int | None, patience: float
) -> str:
    """Set the label of a move to one of its versions, in the current file and on every replica."""
    found = text_of(config)
    text = moved_to(found, entry, version)
    _apply(clients, config, found, text, (entry.model, entry.label), patience)
    return text


def _apply(
    clients: Sequence[ServingClient], config: Path, found: str, text: str, moved: tuple[str, str], patience: float
) -> None:
    """Replace the text of the file, reload every replica, and call each through the label that was moved."""
    if text != found:
        replace_text(config, found, text)
    model, label = moved
    try:
        version = labeled_versions(text, model).get(label)
    except InputError:
        # Another program has removed the model.
        version = None
    failures = []
    for client in clients:
        try:
            client.reload(text)
            if version is not None:
                client.run(_seen(Target(model, label=label), version, time.monotonic() + patience))
        except ClientError as error:
            failures.append(error)
    # Reload every replica even if one fails, so that fewer are left behind.
    if failures:
        raise failures[0]
    if text_of(config) != text:
        raise PromoteError(f"{config} was changed by another program in the meantime")


def _seen(target: Target, version: int, deadline: float) -> CallSequence[None]:
    """Call through the label until the version answers."""
    while True:
        found: Metadata = yield metadata_call(target)
        if found.version == version:
            return
        if time.monotonic() > deadline:
            raise PromoteError(f"version {found.version} answers to the label {target.label}, not version {version}")
        yield Pause(0.2)
