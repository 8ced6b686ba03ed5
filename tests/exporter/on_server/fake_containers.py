"""A docker, or a podman, that runs the stand-in server on this machine: the part of its command line that is used.

Its state is in the directory that FAKE_STATE names. A path in a container is one below its `root`. With FAKE_GPU there
is a GPU, which the log of a server names as TensorFlow does.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

STATE = Path(os.environ["FAKE_STATE"])
ENGINE = Path(sys.argv[1]).name
SERVER = ["serve-model"]
GPU_LINE = (
    "2025-11-25 10:00:00.000001: I tensorflow/core/common_runtime/gpu/gpu_device.cc:2020] Created device "
    "/job:localhost/replica:0/task:0/device:GPU:0 with 38215 MB memory:  -> device: 0, name: NVIDIA A100-SXM4-40GB, "
    "pci bus id: 0000:00:04.0, compute capability: 8.0"
)


def fail(message, status=1):
    print(message, file=sys.stderr)
    sys.exit(status)


def folder(name):
    found = STATE / "containers" / name
    if not found.is_dir():
        fail(f"Error response from daemon: No such container: {name}")
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(place, flags, gpu, out="log"):
    """Start the stand-in for flags with the paths of a container whose files are below `place`/root."""
    root = place / "root"
    for config in root.glob("models*/deploy/models.config"):
        copy = place / "models.config"
        copy.write_text(config.read_text().replace('base_path: "/', f'base_path: "{root}/'))
    own = {"--port": str(free_port()), "--rest_api_port": str(free_port()), "--model_config_file": str(copy)}
    words = []
    for flag in flags:
        name, _, value = flag.partition("=")
        # The stand-in has no GPU.
        name = name.replace("xla_gpu", "xla_cpu")
        value = own.get(name, f"{root}{value}" if value.startswith("/") else value)
        words.append(f"{name}={value}")
    (place / "port").write_text(own["--port"])
    log = (place / out).open("ab")
    if gpu:
        log.write(f"{GPU_LINE}\n".encode())
        log.flush()
    script = 'echo $$ >"$0/pid"; "$@"; status=$?; echo $status >"$0/status"'
    subprocess.Popen(
        ["sh", "-c", script, str(place), *SERVER, *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def kill(place):
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.killpg(int((place / "pid").read_text()), signal.SIGKILL)


def show_version():
    sys.exit(subprocess.run([*SERVER, "--version"], check=False).returncode)


def run(words):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--detach", action="store_true", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--gpus")
    parser.add_argument("--device")
    parser.add_argument("--security-opt", choices=["label=disable"], required=True)
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--publish", action="append", required=True)
    parser.add_argument("--mount", action="append", required=True)
    given, (image, *flags) = parser.parse_known_args(words)
    place = STATE / "containers" / given.name
    place.mkdir(parents=True)
    wants_gpu = bool(given.gpus or given.device)
    if wants_gpu and not os.environ.get("FAKE_GPU"):
        # The container was made, and stays.
        (place / "status").write_text("128")
        fail(
            'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].\n\n'
            "Run 'docker run --help' for more information",
            125,
        )
    assert (STATE / "images" / image.replace("/", "_")).exists(), f"{image} was not pulled"
    assert given.publish == ["127.0.0.1::8500"]
    for mount in given.mount:
        options = dict(part.partition("=")[::2] for part in mount.split(","))
        assert "readonly" in options, mount
        assert Path(options["source"]).is_absolute(), mount
        assert Path(options["source"]).is_dir(), mount
        target = place / "root" / options["target"].lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(options["source"])
    start_server(place, flags, wants_gpu)
    print("0123456789abcdef")


def image_inspect(image):
    if not (STATE / "images" / image.replace("/", "_")).exists():
        fail(f"Error response from daemon: No such image: {image}")
    print("[]")


def pull(image):
    if "nosuch" in image:
        fail(f"Error response from daemon: manifest for {image} not found: manifest unknown: manifest unknown")
    (STATE / "images").mkdir(exist_ok=True)
    (STATE / "images" / image.replace("/", "_")).touch()


def main(words):
    with (STATE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([ENGINE, *words]) + "\n")
    match words:
        case ["ps", "--quiet"]:
            return
        case ["image", "inspect", image]:
            image_inspect(image)
        case ["pull", image]:
            pull(image)
        case ["run", *rest]:
            run(rest)
        case ["inspect", "--format={{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", name]:
            status = folder(name) / "status"
            print(f"exited {status.read_text().strip()} false" if status.exists() else "running 0 false")
        case ["port", name, "8500/tcp"]:
            print(f"127.0.0.1:{(folder(name) / 'port').read_text()}")
        case ["logs", name]:
            log = folder(name) / "log"
            print(log.read_text() if log.exists() else "")
        case ["exec", name, "tensorflow_model_server", "--version"]:
            folder(name)
            show_version()
        case ["rm", "--force", "--volumes", name]:
            place = folder(name)
            kill(place)
            shutil.rmtree(place)
        case _:
            fail(f"unknown flag or command: {words}", 125)


if __name__ == "__main__":
    main(sys.argv[2:])
