"""Plan the move of a label: to a version, or back to the one that the label had before."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from client.errors import ClientError, InputError
from client.promotion import history
from client.promotion.history import Entry
from client.promotion.models_config import base_path, labeled_versions, with_label, without_label
from signatures.contract.locks import LockedError, locked_directory


@dataclass(frozen=True)
class Move:
    """The move of a label from one version to another.

    Attributes:
        config: the models.config.
        command: `promote` or `rollback`.
        old: the version that has the label; None for a new label.
        new: the version that gets it.
        others: the labels that exist.
        found: the text of the file when the move was planned.
        cut_off: an earlier move that was cut off and is settled first.
    """

    config: Path
    command: str
    model: str
    label: str
    old: int | None
    new: int
    others: tuple[str, ...]
    found: str
    cut_off: Entry | None = None

    @property
    def continues(self) -> bool:
        """Whether this is the promotion that was cut off, made again."""
        same = (self.command, self.model, self.label, self.old, self.new)
        cut = self.cut_off
        return cut is not None and (cut.command, cut.model, cut.label, cut.old, cut.new) == same

    @property
    def settles(self) -> bool:
        """Whether settling the move that was cut off is all there is to do."""
        cut = self.cut_off
        if self.command != history.ROLLBACK or cut is None or (cut.model, cut.label) != (self.model, self.label):
            return False
        return self.old in (cut.old, cut.new) and self.new == safe_version(cut)


class PromoteError(ClientError):
    """A label was not moved. Everything is as it was before, unless the message says otherwise."""


def plan(config: Path, model: str, label: str, version: int) -> Move:
    """Return the move of a label to a version.

    Raises:
        InputError: if a file cannot be read, or if there is no such model.
        PromoteError: if another move is being made.
    """
    found, cut_off, _ = _state(config)
    before = labeled_versions(settled(found, cut_off), model)
    return Move(config, history.PROMOTE, model, label, before.get(label), version, tuple(before), found, cut_off)


def plan_back(config: Path, model: str, label: str) -> Move:
    """Return the move of a label to the version that it had before.

    Other labels and models do not matter. A second rollback goes further back, and none goes forward. If a move of this
    label was cut off, settling it is the rollback.

    Raises:
        InputError: if a file cannot be read, or if there is no such model or label.
        PromoteError: if there is nothing to go back to, or if another move is being made.
    """
    found, cut_off, entries = _state(config)
    there, before = labeled_versions(found, model), labeled_versions(settled(found, cut_off), model)
    if label not in there:
        raise InputError(f"model {model} has no label {label} in {config}, only {', '.join(there) or 'no labels'}")
    if label not in before:
        raise PromoteError(f"there is nothing to go back to: {_advice(label, f'the label {label} was new')}")
    current = before[label]
    move = Move(config, history.ROLLBACK, model, label, there[label], current, tuple(there), found, cut_off)
    if move.settles:
        return move
    ours = [entry for entry in entries if (entry.file, entry.model, entry.label) == (file_name(config), model, label)]
    trail = history.trail(ours, current)
    if len(trail) < 2:
        created = [entry for entry in ours if entry.outcome == history.MOVED and entry.old is None]
        why = f"the label {label} was new" if created else f"no promote of this label was finished with {config}"
        raise PromoteError(f"there is nothing to go back to: {_advice(label, why)}")
    return replace(move, old=current, new=trail[-2])


def version_directory(move: Move) -> Path:
    """Return the new version's directory: below base_path or, if that is the server's, below the exporter's output."""
    served = Path(base_path(move.found, move.model)) / str(move.new)
    # export-model writes <output>/deploy/models.config beside <output>/<name>/<version>.
    exported = move.config.resolve().parent.parent / served.parent.name / served.name
    return served if served.is_dir() else exported


def describe(move: Move, addresses: Sequence[str]) -> list[str]:
    """Return the steps of a move, one sentence each."""
    what = f"Label {move.label} of model {move.model}"
    steps = []
    if (cut := move.cut_off) is not None:
        finished = move.continues or cut.command == history.ROLLBACK
        done = "it is finished" if finished else "it is put back"
        which = f"of label {cut.label} of model {cut.model} to version {cut.new}, begun by {cut.user} at {cut.time}"
        steps.append(f"An earlier {cut.command} {which}, was cut off: {done}.")
    if move.old is None:
        others = f"existing labels: {', '.join(move.others)}" if move.others else "there are no labels yet"
        steps.append(f"{what} does not exist yet ({others}): create it, on version {move.new}.")
    elif move.old != move.new:
        steps.append(f"{what}: from version {move.old} to version {move.new}.")
    else:
        steps.append(f"{what} is on version {move.new} already.")
    return [*steps, f"Change {move.config}, then reload and call {', '.join(addresses)}."]


def settled(text: str, cut_off: Entry | None) -> str:
    """Return the text after a move that was cut off is settled."""
    return text if cut_off is None else moved_to(text, cut_off, safe_version(cut_off))


def safe_version(cut_off: Entry) -> int | None:
    """Return the version of the label after settling: a promotion is put back, and a rollback is finished."""
    return cut_off.new if cut_off.command == history.ROLLBACK else cut_off.old


def moved_to(text: str, entry: Entry, version: int | None) -> str:
    """Return the text with the label of a move on one of its versions, or unchanged if another program moved it."""
    try:
        found = labeled_versions(text, entry.model).get(entry.label)
    except InputError:
        # Another program has removed the model.
        return text
    if found not in (entry.old, entry.new):
        return text
    if version is None:
        return without_label(text, entry.model, entry.label)
    return with_label(text, entry.model, entry.label, version)


def cut_off_move(config: Path) -> Entry | None:
    """Return the move that was not finished. Hold the lock while calling: then nobody is making that move."""
    entries = history.read_history(config)
    if not entries or entries[-1].outcome is not None:
        return None
    if entries[-1].file != file_name(config):
        raise PromoteError(f"a move was cut off in {entries[-1].file}, which has the same history: settle it first")
    return entries[-1]


@contextmanager
def locked_config(config: Path) -> Iterator[None]:
    """Keep other moves and exports away from a models.config. Raises PromoteError if one of them is changing it."""
    directory = config.resolve().parent
    if not directory.is_dir():
        raise InputError(f"{config} cannot be read: there is no directory {directory}")
    try:
        with locked_directory(directory, wait=False):
            yield
    except LockedError as error:
        raise PromoteError(f"another promotion, rollback or export is changing {config}: run it again") from error


def file_name(config: Path) -> str:
    """Return the name by which the history knows a models.config."""
    return config.resolve().name


def text_of(config: Path) -> str:
    """Return the text of a models.config. Line endings stay as they are."""
    try:
        return config.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{config} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _advice(label: str, why: str) -> str:
    return f"{why}; to move the label, promote --label {label} with the --version that it should have"


def _state(config: Path) -> tuple[str, Entry | None, tuple[Entry, ...]]:
    """Return the text of the file, the move that was cut off and all moves, while nobody changes them."""
    with locked_config(config):
        return text_of(config), cut_off_move(config), history.read_history(config)
