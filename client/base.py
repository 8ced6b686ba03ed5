"""The common part of the blocking and the asyncio client: the server they call, and the calls.

Each method is written here once, as a generator of calls (see `client.rpc.sequences`). A client turns it into a method
that either makes the calls or awaits them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
from google.protobuf import text_format
from numpy.typing import ArrayLike, NDArray

from client.errors import InputError, ServerError
from client.recording.recorder import Recorder
from client.rpc import messages, sequences
from client.rpc.calls import classify_call, metadata_call, reload_call, status_call
from client.rpc.channel import DEFAULT_OPTIONS, ChannelOptions, addresses
from client.rpc.metadata import ExportInfo, Metadata, Target, VersionStatus
from client.rpc.sequences import CallSequence
from signatures.contract import names

if TYPE_CHECKING:
    from client.check.results import CheckResult
    from signatures.contract.tolerances import Tolerances

TransportT = TypeVar("TransportT")


class BaseClient(Generic[TransportT]):
    """One model on a TensorFlow Serving server.

    Attributes:
        addresses: the addresses of the server or its replicas.
        address: the same as one string.
        model: the name that the model is served under.
        timeout: how many seconds each call may take.
        transport: what sends the requests.
        record: the recorder of requests, or None.
        cache: what the client has learned about the server.
    """

    _grpc_transport: Callable[[Sequence[str], ChannelOptions], TransportT]

    def __init__(
        self,
        address: str | Sequence[str],
        model: str,
        *,
        timeout: float = 10.0,
        options: ChannelOptions = DEFAULT_OPTIONS,
        transport: TransportT | None = None,
        record: Recorder | None = None,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise InputError(f"timeout is {timeout}: pass a number of seconds above 0")
        self.addresses = addresses(address)
        self.address = ",".join(self.addresses)
        self.model = model
        self.timeout = timeout
        self.transport = transport or self._grpc_transport(self.addresses, options)
        self.record = record
        self.cache = sequences.ServerCache()


def wait_until_ready(
    client: BaseClient[Any], *, version: int | None = None, label: str | None = None, timeout: float | None = None
) -> CallSequence[None]:
    """Wait until the requested version is AVAILABLE, or any version if none is requested.

    Args:
        client: the client.
        version: the version's number.
        label: the version's label, instead of its number.
        timeout: how many seconds to wait; by default as long as a call may take.

    Raises:
        UnreachableError: if it is not available in time.

    Example:
        >>> client.wait_until_ready(timeout=60)
    """
    deadline = time.monotonic() + (client.timeout if timeout is None else timeout)
    yield from sequences.wait_until_ready(Target(client.model, version, label), deadline)


def status(
    client: BaseClient[Any], *, version: int | None = None, label: str | None = None
) -> CallSequence[tuple[VersionStatus, ...]]:
    """Ask for the state of each version that the server knows.

    Args:
        client: the client.
        version: show only this version.
        label: show only the version with this label; a real server ignores it.

    Returns:
        The states, the newest version first.

    Raises:
        ServerError: if the server does not know the model or the version.

    Example:
        >>> [(status.version, status.state) for status in client.status()]
        [(1, 'AVAILABLE')]
    """
    return (yield from sequences.one(status_call(Target(client.model, version, label))))


def metadata(
    client: BaseClient[Any], *, version: int | None = None, label: str | None = None
) -> CallSequence[Metadata]:
    """Ask for the signatures of a version.

    Args:
        client: the client.
        version: the version's number; by default the newest.
        label: the version's label, instead of its number.

    Returns:
        The signatures, with dtypes, shapes and defaults.

    Raises:
        ServerError: if the server does not have the model or the version.

    Example:
        >>> client.metadata().signature("serving_default").default_k
        1
    """
    return (yield from sequences.one(metadata_call(Target(client.model, version, label))))


def info(client: BaseClient[Any], *, version: int | None = None, label: str | None = None) -> CallSequence[ExportInfo]:
    """Ask the served export for its identity.

    Args:
        client: the client.
        version: the version's number; by default the newest.
        label: the version's label, instead of its number.

    Returns:
        The export's id, labels, default k and preprocessing.

    Raises:
        ServerError: if the model has no signature `export_info`.
        DecodeError: if the answer is not an identity.

    Example:
        >>> client.info().labels
        ('cat', 'dog')
    """
    return (yield from sequences.info(Target(client.model, version, label)))


def predict(
    client: BaseClient[Any],
    inputs: Mapping[str, ArrayLike] | ArrayLike,
    k: ArrayLike | None = None,
    signature: str = names.SERVING_DEFAULT,
    *,
    min_score: ArrayLike | None = None,
    outputs: Sequence[str] = (),
    version: int | None = None,
    label: str | None = None,
    validate: bool = True,
) -> CallSequence[dict[str, NDArray[Any]]]:
    """Call a signature.

    Args:
        client: the client.
        inputs: arrays [B, ...] by input name, or a single array if there is only one input besides k and min_score.
        k: how many entries of a row to keep: one number, or one per example. None means the server's default.
        signature: the signature's key.
        min_score: the lowest score to keep: one number, or one per example. None means the server's default.
        outputs: the outputs to return; by default all.
        version: the version's number; by default the newest.
        label: the version's label, instead of its number.
        validate: whether to compare the inputs with the signature before sending them. This costs one GetModelMetadata
            call per client. Without it, inputs must be passed by name and are sent unchanged.

    Returns:
        The outputs by name. Strings are object arrays of bytes.

    Raises:
        InputError: if the inputs do not fit the signature.
        ServerError: if the server answers with an error.
        UnreachableError: if the server does not answer in time.
        DecodeError: if the answer cannot be read.

    Example:
        >>> client.predict(images, k=1)["probabilities"].tolist()
        [[0.0, 0.75]]
    """
    target = Target(client.model, version, label)
    return (yield from sequences.predict(client.cache, target, inputs, k, min_score, signature, outputs, validate))


def classify(
    client: BaseClient[Any],
    examples: Sequence[Mapping[str, Any]],
    signature: str = names.CLASSIFY,
    *,
    version: int | None = None,
    label: str | None = None,
) -> CallSequence[list[list[tuple[str, float]]]]:
    """Call the Classify API.

    Args:
        client: the client.
        examples: for each example, its features by name: one value or a list of values (bytes or str, int, or float).
        signature: the signature's key.
        version: the version's number; by default the newest.
        label: the version's label, instead of its number.

    Returns:
        For each example, its classes with their scores.

    Raises:
        InputError: if there are no examples, or if a feature has a value of another type.
        ServerError: if the server answers with an error.
    """
    return (yield from sequences.one(classify_call(Target(client.model, version, label), signature, examples)))


def reload(client: BaseClient[Any], config: str) -> CallSequence[None]:
    """Make the server serve the models of a models.config instead of its current ones.

    A server that polls its own file goes back to that file at the next poll.

    Args:
        client: the client.
        config: the text of the models.config.

    Raises:
        InputError: if the text is not a models.config.
        ServerError: if the server refuses it.
    """
    message = messages.ModelServerConfig()
    try:
        text_format.Parse(config, message)
    except text_format.ParseError as error:
        raise InputError(f"the text is not a models.config: {error}") from error
    status = yield reload_call(message)
    if status.error_code:
        code = next(code for code in grpc.StatusCode if code.value[0] == status.error_code)
        raise ServerError(f"the server did not take the configuration: {status.error_message}", code)


def check(
    client: BaseClient[Any],
    golden: str | Path,
    *,
    tolerances: "Tolerances | None" = None,
    version: int | None = None,
    label: str | None = None,
) -> CallSequence["CheckResult"]:
    """Check whether the served model is the exported one; see `client.check`.

    Args:
        client: a client with a single address.
        golden: a published version's directory, or the golden file in it.
        tolerances: how much scores may differ; by default the tolerances for CPUs.
        version: the version's number; by default the newest.
        label: the version's label, instead of its number.

    Returns:
        The result of the check.

    Raises:
        InputError: if there are no golden records, or if the client has several addresses.
        UnreachableError: if there is no server.
    """
    from client.check.three_questions import check
    from client.samples.golden import read_golden
    from signatures.contract.tolerances import CPU

    if len(client.addresses) > 1:
        raise InputError("a check covers one server: create a client for each address")
    target = Target(client.model, version, label)
    return (yield from check(client.address, target, read_golden(Path(golden)), tolerances or CPU))
