"""The client for asyncio."""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio
from numpy.typing import ArrayLike, NDArray

from client.errors import ClientError, InputError
from client.rpc import channel
from client.rpc import sequences as steps
from client.rpc.calls import Call, metadata_call, status_call
from client.rpc.examples import classify_examples
from client.rpc.metadata import ExportInfo, Metadata, Target, VersionStatus
from signatures.contract import names

if TYPE_CHECKING:
    from client.check.results import CheckResult
    from signatures.contract.judge import Tolerances

T = TypeVar("T")


class AsyncServingClient:
    """ServingClient for asyncio: the same methods with the same arguments and errors, to be awaited.

    Example::

        async with AsyncServingClient("localhost:8500", "digits") as client:
            await client.wait_until_ready()
            answers = await asyncio.gather(*(client.predict(images, k=k) for k in (1, 2, 3)))
    """

    def __init__(
        self,
        address: str | Sequence[str],
        model: str,
        *,
        timeout: float = 10.0,
        options: channel.ChannelOptions = channel.DEFAULT_OPTIONS,
    ) -> None:
        if not 0 < timeout < math.inf:
            raise InputError(f"timeout is {timeout}: give a number of seconds above 0")
        self.addresses = channel.addresses(address)
        self.address = ",".join(self.addresses)
        self.model = model
        self.timeout = timeout
        self._channel = channel.open_channel(self.addresses, options, grpc.aio)
        self.headers = options.headers()
        self._methods: dict[str, Any] = {}
        self._memory = steps.Memory()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls made afterwards fail."""
        await self._channel.close()

    async def wait_until_ready(
        self, *, version: int | None = None, label: str | None = None, timeout: float | None = None
    ) -> None:
        """Wait until the version asked for, or any if none is, is AVAILABLE; UnreachableError after `timeout` s."""
        timeout = self.timeout if timeout is None else timeout
        target = Target(self.model, version, label)
        await self.run(steps.wait_until_ready(target, time.monotonic() + timeout), timeout)

    async def status(self, *, version: int | None = None, label: str | None = None) -> tuple[VersionStatus, ...]:
        """Return the state of each version that the server knows of, newest first."""
        return await self.run(steps.one(status_call(Target(self.model, version, label))))

    async def metadata(self, *, version: int | None = None, label: str | None = None) -> Metadata:
        """Return the signatures, with dtypes, shapes and defaults."""
        return await self.run(steps.one(metadata_call(Target(self.model, version, label))))

    async def info(self, *, version: int | None = None, label: str | None = None) -> ExportInfo:
        """Return the identity of the export that is served."""
        return await self.run(steps.info(Target(self.model, version, label)))

    async def predict(
        self,
        inputs: Mapping[str, ArrayLike] | ArrayLike,
        k: ArrayLike | None = None,
        signature: str = names.SERVING_DEFAULT,
        *,
        outputs: Sequence[str] = (),
        version: int | None = None,
        label: str | None = None,
        validate: bool = True,
    ) -> dict[str, NDArray[Any]]:
        """Return the outputs of a signature by name; the arguments are those of ServingClient.predict."""
        target = Target(self.model, version, label)
        return await self.run(steps.predict(self._memory, target, inputs, k, signature, outputs, validate))

    async def classify(
        self,
        examples: Sequence[Mapping[str, Any]],
        signature: str = names.CLASSIFY,
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Return, for each example, its classes and their scores."""
        return await self.run(steps.one(classify_examples(Target(self.model, version, label), signature, examples)))

    async def reload(self, config: str) -> None:
        """Put a models.config, given as its text, in the place of all that the server was told to serve."""
        await self.run(steps.reload(config))

    async def check(
        self,
        golden: str | Path,
        *,
        tolerances: "Tolerances | None" = None,
        version: int | None = None,
        label: str | None = None,
    ) -> "CheckResult":
        """Return whether what is served is what was exported; see client.check.three_questions."""
        from client.check.three_questions import check
        from client.samples.golden import read_golden
        from signatures.contract.judge import CPU

        if len(self.addresses) > 1:
            raise InputError("a check tells of one server: make a client for each address")
        target = Target(self.model, version, label)
        return await self.run(check(self.address, target, read_golden(Path(golden)), tolerances or CPU))

    async def run(self, sequence: steps.Steps[T], timeout: float = math.inf) -> T:
        """Make the calls that a generator of client.steps yields, in at most `timeout` s; return what it returns."""
        deadline = time.monotonic() + timeout
        try:
            step = next(sequence)
            while True:
                try:
                    answer = await self._perform(step, min(self.timeout, deadline - time.monotonic()))
                except ClientError as error:
                    step = sequence.throw(error)
                else:
                    step = sequence.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def method(self, path: str) -> Any:
        """Return gRPC's callable for a method, which takes and gives bytes; it is to be given `headers`."""
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = self._channel.unary_unary(path)
        return found

    async def _perform(self, step: Call[Any] | steps.Pause, timeout: float) -> Any:
        if isinstance(step, steps.Pause):
            return await asyncio.sleep(step.seconds)
        try:
            response = await self.method(step.method)(step.request, timeout=timeout, metadata=self.headers)
        except grpc.RpcError as error:
            raise channel.as_server_error(self.address, timeout, error) from error
        return step.read(response)
