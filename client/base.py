"""What the blocking and the asyncio client have in common: whom they call, and the calls themselves.

Each method is written here once, as a generator of calls (see `client.rpc.sequences`). A client turns it into a method
that makes the calls, or into one that awaits them.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from client.errors import InputError
from client.rpc import sequences
from client.rpc.calls import metadata_call, status_call
from client.rpc.channel import addresses
from client.rpc.examples import classify_examples
from client.rpc.metadata import ExportInfo, Metadata, Target, VersionStatus
from client.rpc.sequences import CallSequence
from signatures.contract import names

if TYPE_CHECKING:
    from client.check.results import CheckResult
    from signatures.contract.tolerances import Tolerances


class BaseClient:
    """One model on a TensorFlow Serving server.

    Attributes:
        addresses: where the server or its replicas listen.
        address: the same in one string.
        model: the name that the model is served under.
        timeout: seconds that each call may take.
        cache: what was learned of the server.
    """

    def __init__(self, address: str | Sequence[str], model: str, timeout: float) -> None:
        if not 0 < timeout < math.inf:
            raise InputError(f"timeout is {timeout}: give a number of seconds above 0")
        self.addresses = addresses(address)
        self.address = ",".join(self.addresses)
        self.model = model
        self.timeout = timeout
        self.cache = sequences.ServerCache()


def wait_until_ready(
    client: BaseClient, *, version: int | None = None, label: str | None = None, timeout: float | None = None
) -> CallSequence[None]:
    """Wait until the version asked for is AVAILABLE; without one, until any version is.

    Args:
        client: the client.
        version: the version's number.
        label: the version's label, instead of its number.
        timeout: how long to wait, in seconds; by default as long as a call may take.

    Raises:
        UnreachableError: when it is not available in time.
    """
    deadline = time.monotonic() + (client.timeout if timeout is None else timeout)
    yield from sequences.wait_until_ready(Target(client.model, version, label), deadline)


def status(
    client: BaseClient, *, version: int | None = None, label: str | None = None
) -> CallSequence[tuple[VersionStatus, ...]]:
    """Return the state of each version that the server knows of, newest first."""
    return (yield from sequences.one(status_call(Target(client.model, version, label))))


def metadata(client: BaseClient, *, version: int | None = None, label: str | None = None) -> CallSequence[Metadata]:
    """Return the signatures, with dtypes, shapes and defaults."""
    return (yield from sequences.one(metadata_call(Target(client.model, version, label))))


def info(client: BaseClient, *, version: int | None = None, label: str | None = None) -> CallSequence[ExportInfo]:
    """Return the identity of the export that is served: its id, labels, default k and preprocessing."""
    return (yield from sequences.info(Target(client.model, version, label)))


def predict(
    client: BaseClient,
    inputs: Mapping[str, ArrayLike] | ArrayLike,
    k: ArrayLike | None = None,
    signature: str = names.SERVING_DEFAULT,
    *,
    outputs: Sequence[str] = (),
    version: int | None = None,
    label: str | None = None,
    validate: bool = True,
) -> CallSequence[dict[str, NDArray[Any]]]:
    """Call a signature.

    Args:
        client: the client.
        inputs: arrays [B, ...] by input name, or one bare array where there is one input beside k.
        k: how many entries of a row to keep: one number, or one per example. None takes the server's default.
        signature: the signature's key.
        outputs: the outputs to return; by default all.
        version: the version to ask, by its number; by default the newest.
        label: the version to ask, by its label.
        validate: whether to compare the inputs with the signature before they are sent, at the cost of one
            GetModelMetadata call per client. Without it, inputs must be given by name and are sent as they are.

    Returns:
        The outputs by name; strings come as an object array of bytes.

    Raises:
        InputError: when the inputs are not what the signature takes.
        ServerError: when the server answers with an error; UnreachableError when it does not answer in time.
        DecodeError: when the answer cannot be read.
    """
    target = Target(client.model, version, label)
    return (yield from sequences.predict(client.cache, target, inputs, k, signature, outputs, validate))


def classify(
    client: BaseClient,
    examples: Sequence[Mapping[str, Any]],
    signature: str = names.CLASSIFY,
    *,
    version: int | None = None,
    label: str | None = None,
) -> CallSequence[list[list[tuple[str, float]]]]:
    """Call the Classify API.

    Args:
        client: the client.
        examples: features by name, each a value or a list of values: bytes or str, int, or float.
        signature: the signature's key.
        version: the version to ask, by its number; by default the newest.
        label: the version to ask, by its label.

    Returns:
        For each example, its classes and their scores.
    """
    return (yield from sequences.one(classify_examples(Target(client.model, version, label), signature, examples)))


def reload(client: BaseClient, config: str) -> CallSequence[None]:
    """Replace all that the server was told to serve by a models.config, given as its text.

    A server that polls its file takes that one again at the next poll.
    """
    yield from sequences.reload(config)


def check(
    client: BaseClient,
    golden: str | Path,
    *,
    tolerances: "Tolerances | None" = None,
    version: int | None = None,
    label: str | None = None,
) -> CallSequence["CheckResult"]:
    """Check whether what is served is what was exported; see `client.check`.

    Args:
        client: the client, of one address.
        golden: a published version's directory, or the golden file in it.
        tolerances: how far scores may be apart; by default what CPUs need.
        version: the version to check, by its number; by default the newest.
        label: the version to check, by its label.
    """
    from client.check.three_questions import check
    from client.samples.golden import read_golden
    from signatures.contract.tolerances import CPU

    if len(client.addresses) > 1:
        raise InputError("a check tells of one server: make a client for each address")
    target = Target(client.model, version, label)
    return (yield from check(client.address, target, read_golden(Path(golden)), tolerances or CPU))
