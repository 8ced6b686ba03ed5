"""`serving-client check`."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from client.check.expectations import expectation_of
from client.check.report import report
from client.check.rest import check_rest
from client.check.results import CheckResult
from client.check.three_questions import check as run_check
from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import (
    as_json_option,
    show_or_print,
    tolerance_options,
    tolerances_of,
    version_options,
)
from client.cli.samples import sample_arguments, samples_for
from client.client import ServingClient
from client.rest.http import RestServer
from client.rpc.metadata import Target
from client.samples.golden import Expectation, read_golden


@click.command(cls=ConnectedCommand)
@sample_arguments
@click.option("--against", metavar="HOST:PORT", help="Another server that should serve the same export.")
@click.option("--against-version", type=click.IntRange(min=0), metavar="N", help="Another version to compare with.")
@click.option("--rest", metavar="HOST:PORT", help="The server's REST port; several, separated by commas, as addresses.")
@click.option("--report", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write an HTML page.")
@click.option(
    "--tolerances",
    "measured",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use the tolerances that qualify measured on this hardware.",
)
@tolerance_options
@version_options
@as_json_option
@click.pass_obj
def check(
    connection: Connection,
    samples: tuple[Path, ...],
    golden: Path | None,
    against: str | None,
    against_version: int | None,
    rest: str | None,
    page: Path | None,
    measured: Path | None,
    gpu: bool,
    rtol: float | None,
    atol: float | None,
    version: int | None,
    label: str | None,
    as_json: bool,
) -> int:
    """Check that the served model is the exported one; exit with status 1 if it is not.

    Sends the golden records of a published version and SAMPLES of your own, at least one of the two; predict --help
    lists the kinds of files. With several addresses each is checked.
    """
    if golden is None and not samples:
        raise click.UsageError("give --golden PATH, or samples to check with.")
    if against is not None and against_version is not None:
        raise click.UsageError("give --against or --against-version, not both.")
    addresses = connection.addresses()
    ports = [] if rest is None else [RestServer(address, connection.timeout) for address in rest.split(",")]
    if ports and len(ports) != len(addresses):
        raise click.UsageError(f"--rest names {len(ports)} ports, and --address {len(addresses)}: name one for each.")
    tolerances = tolerances_of(gpu, rtol, atol, measured)
    expectation = None if golden is None else read_golden(golden)
    results: list[CheckResult] = []
    for number, address in enumerate(addresses):
        with connection.open(address) as client, show.waiting(address):
            target = Target(client.model, version, label)
            expected = _expected(client, target, expectation, samples)
            # Without golden records, replicas can still be compared with the first one.
            other = against or (results[0].address if results and expectation is None else None)
            if against_version is not None:
                expected = _of_version(client, target, expected, against_version)
            elif other is not None:
                expected = _of_server(connection, other, address, target, expected)
            result = client.run(run_check(address, target, expected, tolerances))
            results.append(check_rest(client, ports[number], target, result) if ports else result)
    passed = all(result.passed for result in results)
    value = results[0] if len(results) == 1 else {"passed": passed, "replicas": results}
    show_or_print(value, as_json, lambda: show.checks(results))
    if page is not None:
        page.write_text(report(results, datetime.now(UTC)), "utf-8")
    return 0 if passed else 1


def _expected(
    client: ServingClient, target: Target, expectation: Expectation | None, paths: tuple[Path, ...]
) -> Expectation:
    """Return the golden records, followed by the user's samples."""
    if not paths:
        return expectation or Expectation("", ())
    samples = samples_for(client, target, paths)
    if expectation is None:
        return Expectation(f"{len(samples)} samples", samples)
    return replace(expectation, samples=expectation.samples + samples)


def _of_version(client: ServingClient, target: Target, expected: Expectation, version: int) -> Expectation:
    if client.metadata(version=target.version, label=target.label).version == version:
        raise click.UsageError(f"version {version} would be checked against itself.")
    return client.run(expectation_of(f"version {version}", Target(client.model, version), expected.samples, False))


def _of_server(connection: Connection, other: str, address: str, target: Target, expected: Expectation) -> Expectation:
    if other == address:
        raise click.UsageError(f"{address} would be checked against itself.")
    with connection.open(other) as client:
        return client.run(expectation_of(f"the server at {other}", target, expected.samples, True))
