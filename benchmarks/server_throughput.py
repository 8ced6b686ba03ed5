"""Requests a second at 16 clients: the stand-in server against a bare one that runs the same session without a check.

    python benchmarks/server_throughput.py [--clients 16] [--seconds 3] [--rounds 9]

Both serve the preset `digits`, one image a request, k left out. The bare server is gRPC, one handler and the session:
it reads the bytes that it hopes for and writes what comes out. Each round asks both, in changing order, so that
whatever else the machine does meets both. Clients are processes of their own, four threads each.
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

METHOD = "/tensorflow.serving.PredictionService/Predict"
THREADS_A_PROCESS = 4
# The default of 4 a core would refuse some of 16 clients on a small machine.
SERVER_THREADS = 32


def bare_server(version, ports):
    """Serve one version with nothing between gRPC and the session; puts its port in the queue."""
    from tensorflow_serving.apis import predict_pb2

    from server.loader import load
    from signatures.contract import names

    session = load(version, xla_enabled=False)
    signature = session.signatures[names.SERVING_DEFAULT]
    (images,) = (info.name for key, info in signature.inputs.items() if key != names.K)
    k = np.int32(signature.defaults[names.K].int_val[0])
    feeds = [images, signature.inputs[names.K].name]
    fetches = [signature.outputs[names.PROBABILITIES].name]

    def predict(request, context):
        tensor = next(iter(request.inputs.values()))
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        image = np.frombuffer(tensor.tensor_content, np.float32).reshape(shape)
        (scores,) = session.run(dict(zip(feeds, (image, k), strict=True)), fetches)
        response = predict_pb2.PredictResponse()
        output = response.outputs[names.PROBABILITIES]
        output.dtype = 1
        for size in scores.shape:
            output.tensor_shape.dim.add(size=size)
        output.float_val.extend(scores.ravel().tolist())
        return response

    server = grpc.server(ThreadPoolExecutor(SERVER_THREADS))
    handler = grpc.unary_unary_rpc_method_handler(
        predict, predict_pb2.PredictRequest.FromString, predict_pb2.PredictResponse.SerializeToString
    )
    service, _, name = METHOD.strip("/").rpartition("/")
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: handler})])
    ports.put(server.add_insecure_port("localhost:0"))
    server.start()
    server.wait_for_termination()


def stand_in_server(version, ports):
    """Serve the same version with the stand-in; puts its port in the queue."""
    from server import ModelServer, Settings

    settings = Settings(model_name="digits", model_base_path=version.parent, grpc_max_threads=SERVER_THREADS)
    with ModelServer(settings) as server:
        ports.put(server.port)
        threading.Event().wait()


def ask(port, data, threads, seconds, go, counts):
    """Send one request after another from each of some threads; puts how many were answered in the queue."""
    channels = [
        grpc.insecure_channel(f"localhost:{port}", [("grpc.use_local_subchannel_pool", 1)]) for _ in range(threads)
    ]
    calls = [channel.unary_unary(METHOD) for channel in channels]
    for call in calls:
        call(data, timeout=60)
    go.wait()
    until = time.monotonic() + seconds

    def repeat(call):
        answered = 0
        while time.monotonic() < until:
            call(data, timeout=60)
            answered += 1
        return answered

    with ThreadPoolExecutor(threads) as pool:
        counts.put(sum(pool.map(repeat, calls)))


def requests_a_second(context, port, data, clients, seconds):
    processes = max(1, clients // THREADS_A_PROCESS)
    go, counts = context.Barrier(processes), context.Queue()
    arguments = (port, data, clients // processes, seconds, go, counts)
    running = [context.Process(target=ask, args=arguments) for _ in range(processes)]
    for process in running:
        process.start()
    total = sum(counts.get() for _ in running)
    for process in running:
        process.join()
    return total / seconds


def export_digits(folder):
    command = [
        sys.executable,
        "-c",
        "from exporter.cli import main; main()",
        "digits",
        "--k=2",
        f"--output={folder}",
    ]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
    return folder / "digits" / "1"


def one_image():
    """A serialized PredictRequest with one random 32x32 image."""
    from tensorflow_serving.apis import predict_pb2

    from server.tensors import encode
    from signatures.contract import names

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    image = np.random.default_rng(0).random((1, 32, 32, 1), np.float32)
    request.inputs[names.IMAGES].CopyFrom(encode(image, as_content=True))
    return request.SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rates = {"bare": [], "stand-in": []}
    with tempfile.TemporaryDirectory() as folder:
        version = export_digits(Path(folder))
        servers, ports = [], {}
        for name, target in (("bare", bare_server), ("stand-in", stand_in_server)):
            queue = context.Queue()
            servers.append(context.Process(target=target, args=(version, queue), daemon=True))
            servers[-1].start()
            ports[name] = queue.get(timeout=120)
        data = one_image()
        for number in range(1, arguments.rounds + 1):
            for name in sorted(ports, reverse=number % 2 == 0):
                rate = requests_a_second(context, ports[name], data, arguments.clients, arguments.seconds)
                rates[name].append(rate)
            print(f"round {number}: " + ", ".join(f"{name} {rates[name][-1]:.0f}/s" for name in rates), flush=True)
        for process in servers:
            process.terminate()
            process.join()
    bare, stand_in = (statistics.median(rates[name]) for name in ("bare", "stand-in"))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(rates["stand-in"], rates["bare"], strict=True))
    print(
        f"{arguments.clients} clients, medians of {arguments.rounds} rounds of {arguments.seconds:g} s: "
        f"bare {bare:.0f}/s, stand-in {stand_in:.0f}/s, ratio within a round {ratio:.2f}"
    )


if __name__ == "__main__":
    main()
