"""The command line's output for people: tables, with color on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text

from client.bench.baseline import Baseline, Comparison, Subject
from client.bench.load import BenchResult
from client.check.results import CheckResult
from client.rpc.metadata import ExportInfo, Metadata, ReplicaStatus, TensorInfo

_BAR = 24
_NO_EDGE = 100_000
# The number of labels shown without --labels.
_SHOWN_LABELS = 12
_ORIGIN = ("created", "git_commit", "source_digest")
PASSED = {
    True: Text("passed", "green"),
    False: Text("failed", "bold red"),
    None: Text("not asked", "yellow"),
}
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def waiting(address: str) -> Status:
    """Return a context in which a terminal, if there is one, shows that a server is being called."""
    console = Console(stderr=True)
    return console.status(f"Calling {address} ...", spinner="line" if console.options.ascii_only else "dots")


def status(model: str, replicas: Sequence[ReplicaStatus]) -> None:
    """Print the versions of a model, at each address if there are several."""
    several = ["address"] if len(replicas) > 1 else []
    table = new_table(*several, "version", "state", "error", title=f"model {model}")
    for replica in replicas:
        address = [Text(replica.address)] if several else []
        if replica.error:
            table.add_row(*address, "", Text("no answer", "red"), Text(replica.error))
        for version in replica.versions:
            color = "green" if version.state == "AVAILABLE" else "red" if version.error else "yellow"
            table.add_row(*address, str(version.version), Text(version.state, color), Text(version.error))
    stdout_console().print(table)


def metadata(found: Metadata) -> None:
    """Print signatures, a row for each input and output."""
    title = f"model {found.model}, version {found.version}"
    table = new_table("signature", "", "name", "dtype", "shape", "default", title=title)
    for signature in found.signatures.values():
        rows = [("in", *item) for item in signature.inputs.items()]
        rows += [("out", *item) for item in signature.outputs.items()]
        for number, (side, name, info_) in enumerate(rows):
            key = signature.key if number == 0 else ""
            table.add_row(Text(key), side, Text(name), info_.dtype, _shape(info_), _default(info_))
        table.add_section()
    stdout_console().print(table)


def info(found: ExportInfo, origin: Mapping[str, Any]) -> None:
    """Print an export's identity, and where it comes from if that is known."""
    table = new_table("", "")
    table.show_header = False
    for name, value in (
        ("export id", found.export_id),
        ("model", found.model),
        ("k", str(found.k)),
        ("min score", f"{found.min_score:g}"),
        ("labels", _labels(found.labels)),
        ("thresholds", _thresholds(found)),
        ("preprocessing", found.preprocessing or "unknown"),
        ("golden digest", found.golden_digest),
        *((name.replace("_", " "), str(origin[name] or "unknown")) for name in _ORIGIN if origin),
        *((name, str(value)) for name, value in origin.get("metadata", {}).items()),
    ):
        table.add_row(name, Text(value))
    stdout_console().print(table)


def _thresholds(found: ExportInfo) -> str:
    """Return the first thresholds of the labels that have one, and the number of the others."""
    each = zip(found.labels, found.thresholds, strict=False)
    known = [f"{label} {threshold:g}" for label, threshold in each if threshold > 0]
    shown, hidden = ", ".join(known[:_SHOWN_LABELS]), len(known) - _SHOWN_LABELS
    return (shown or "none") + (f" and {hidden} more" if hidden > 0 else "")


def labels(found: ExportInfo) -> None:
    """Print the labels by index, one on each line."""
    for label in found.labels:
        print(label.encode("unicode_escape").decode() if not label.isprintable() else label)


def predictions(found: Sequence[dict[str, Any]]) -> None:
    """Print the kept labels of each sample, with their scores as bars."""
    console = stdout_console()
    images = all("picture" in prediction for prediction in found)
    table = new_table("image" if images else "sample", "label", "score", "")
    for prediction in found:
        sample = Text(prediction["sample"])
        for kept in prediction["kept"] or [{"label": "none kept", "score": 0.0}]:
            bar = Text(_bar(kept["score"], console.options.ascii_only), "cyan")
            table.add_row(sample, Text(kept["label"]), f"{kept['score']:.4f}" if "index" in kept else "", bar)
            sample = Text("")
        table.add_section()
    console.print(table)


def checks(results: Sequence[CheckResult]) -> None:
    """Print the verdict on each replica."""
    for result in results:
        check(result)


def check(result: CheckResult) -> None:
    """Print a verdict: a row for each question, the first fault of each that failed, and the answer."""
    console = stdout_console()
    title = f"model {result.model}, version {result.version} at {result.address}"
    table = new_table("question", "", "records", "answers", "near ties", "largest difference", title=title)
    questions = result.questions
    for name, question in questions.items():
        compared = name != "identity"
        table.add_row(
            name,
            PASSED[question.passed],
            str(question.records) if compared else "",
            str(question.answers),
            str(question.near_ties) if compared else "",
            f"{question.largest_difference:.2g}" if compared else "",
        )
    console.print(table)
    for name, question in questions.items():
        if question.first_fault:
            console.print(Text(f"{name}: {question.fault_summary}", "red"), soft_wrap=True)
    for note in result.notes:
        console.print(Text(note, "yellow"), soft_wrap=True)
    console.print(Text(result.verdict, "bold green" if result.passed else "bold red"))


def bench(
    model: str,
    subject: Subject,
    results: Sequence[BenchResult],
    baseline: Baseline | None,
    comparisons: Sequence[Comparison],
) -> None:
    """Print a row for each load, the failed calls, and the change since a baseline."""
    console = stdout_console()
    if not results:
        return console.print("Nothing was measured.")
    sent = f"{subject.batch} in each request" if subject.batch else "requests as recorded"
    title = f"{sent}, latencies in ms"
    table = new_table("load", "calls/s", "p50", "p90", "p99", "p99.9", "longest", "errors", title=title)
    for result in results:
        percentiles = [f"{result.percentiles_ms[name]:.2f}" for name in ("50", "90", "99", "99.9")]
        errors = Text(str(sum(result.errors.values())), "bold red" if result.errors else "")
        table.add_row(result.load, f"{result.calls_per_second:.0f}", *percentiles, f"{result.longest_ms:.2f}", errors)
    console.print(table)
    for result in results:
        sentences = [f"{count} calls failed with {code}." for code, count in sorted(result.errors.items())]
        if len(result.versions) > 1:
            sentences.append(f"Versions {', '.join(sorted(result.versions))} answered.")
        if result.interrupted:
            sentences.append(f"Interrupted after {result.answered} answers.")
        for sentence in (*sentences, *result.limits):
            console.print(Text(f"{result.load}: {sentence}", "yellow"), soft_wrap=True)
    if baseline is not None:
        _since(console, model, results, baseline, comparisons)
    return None


def highest_rate(rate: float | None, target_ms: float) -> None:
    """Print the result of a search for the highest rate."""
    kept = "No rate that was tried keeps" if rate is None else f"{rate:g} requests a second keep"
    print(f"{kept} the 99th percentile at {target_ms:g} ms or less.")


def _since(
    console: Console,
    model: str,
    results: Sequence[BenchResult],
    baseline: Baseline,
    comparisons: Sequence[Comparison],
) -> None:
    by_load = {one.load: one for one in comparisons}
    against = "the baseline" if baseline.model == model else f"the baseline, which is of model {baseline.model}"
    for result in results:
        one = by_load.get(result.load)
        if one is None:
            text = f"{result.load}: there is nothing to compare with in {against}."
        else:
            text = (
                f"{one.load}, against {against}: {_times(one.calls_per_second)} the calls a second, "
                f"{_times(one.median)} the median, {_times(one.p99)} the 99th percentile."
            )
        console.print(Text(text), soft_wrap=True)


def stdout_console() -> Console:
    """Return a console for stdout. Lines are broken only on a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = _NO_EDGE
    return console


def new_table(*headers: str, title: str = "") -> Table:
    """Return an empty table that wraps wide cells: an ellipsis would hide text, and is not ASCII."""
    columns = [Column(header, overflow="fold") for header in headers]
    return Table(*columns, title=title or None, title_justify="left")


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times"


def _bar(score: float, in_ascii: bool) -> str:
    # The order matters: with NaN, both return their first argument.
    share = min(1.0, max(0.0, score))
    if in_ascii:
        return "#" * round(share * _BAR)
    eighths = round(share * _BAR * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _labels(labels: Sequence[str]) -> str:
    shown, hidden = ", ".join(labels[:_SHOWN_LABELS]), len(labels) - _SHOWN_LABELS
    return f"{len(labels)}: {shown}" + (f" and {hidden} more, which --labels lists" if hidden > 0 else "")


def _shape(info_: TensorInfo) -> str:
    if info_.shape is None:
        return "any"
    return "[" + ", ".join("?" if length == -1 else str(length) for length in info_.shape) + "]"


def _default(info_: TensorInfo) -> str:
    return "" if info_.default is None else str(info_.default.tolist())
