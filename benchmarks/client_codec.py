"""What encoding and decoding cost: `python benchmarks/client_codec.py`; where TensorFlow is installed, against it too.

A request of 32 images of 224x224x3 is built; 19 MB of repeated floats are decoded. Things to compare take turns,
and a row gives the median of each one's times and the median ratio to ours.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from client.rpc.calls import predict_call
from client.rpc.codec import decode_tensor
from client.rpc.messages import TensorProto
from client.rpc.metadata import Target

ROUNDS = 15


def timed(work: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Times in ms of each piece of work, which take turns; in its turn each is done twice and the second is timed."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS + 1):
        for name, function in work.items():
            function()
            start = time.perf_counter()
            function()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: found[1:] for name, found in times.items()}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(as_json: bool) -> None:
    """Compare the codec with a plain copy and with TensorFlow's."""
    images = np.random.default_rng(0).random((32, 224, 224, 3), np.float32)
    repeated = TensorProto(dtype=1, float_val=images.reshape(-1))
    for size in images.shape:
        repeated.tensor_shape.dim.add(size=size)
    encoding: dict[str, Callable[[], Any]] = {
        "ours": lambda: predict_call(Target("m"), "s", {"images": images}).request,
        "one copy": images.tobytes,
    }
    decoding: dict[str, Callable[[], Any]] = {"ours": lambda: decode_tensor(repeated)}
    try:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2
    except ImportError:
        pass
    else:
        theirs = tf.make_tensor_proto(0.0).FromString(repeated.SerializeToString())

        def through_message() -> bytes:
            request = predict_pb2.PredictRequest()
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
            return request.SerializeToString()

        encoding["make_tensor_proto, CopyFrom, SerializeToString"] = through_message
        decoding["make_ndarray"] = lambda: tf.make_ndarray(theirs)
    rows = []
    for what, work in (("encode", encoding), ("decode", decoding)):
        times = timed(work)
        for name, found in times.items():
            ratio = median(mine / other for mine, other in zip(times["ours"], found, strict=True))
            rows.append({"what": what, "by": name, "ms": median(found), "ours_to_this": ratio})
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("", "by", "ms", "ours / this")
    for row in rows:
        table.add_row(row["what"], row["by"], f"{row['ms']:.2f}", f"{row['ours_to_this']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
