"""A kubectl that runs the stand-in server on this machine as a pod: the part of its command line that is used."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_containers import STATE, fail, kill, show_version, start_server

PULLING = "ImagePullBackOff"
# As a service mesh adds one to every pod.
MESH = [{"name": "mesh", "state": {"terminated": {"exitCode": 0}}, "ready": False}]


def folder(name):
    found = STATE / "pods" / name
    if not found.is_dir():
        fail(f'Error from server (NotFound): pods "{name}" not found')
    return found


def server_of(place):
    (container,) = json.loads((place / "manifest.json").read_text())["spec"]["containers"]
    return container


def create(manifest):
    pod = json.loads(manifest)
    place = STATE / "pods" / pod["metadata"]["name"]
    (place / "root" / "models").mkdir(parents=True)
    (place / "manifest.json").write_text(manifest)
    shutil.copyfile(place / "manifest.json", STATE / "last_pod.json")


def copy(place, command):
    """Run a command in the container that copies; it ends with the server's start."""
    root = place / "root"
    done = subprocess.run(["sh", "-c", command.replace("/models", f"{root}/models")], check=False)
    if (root / "models" / ".complete").exists():
        start_server(place, server_of(place)["args"], bool(os.environ.get("FAKE_GPU")))
    sys.exit(done.returncode)


def is_open(place):
    with suppress(OSError), socket.create_connection(("127.0.0.1", int((place / "port").read_text())), 1):
        return True
    return False


def status(place):
    if "nosuch" in server_of(place)["image"]:
        state = {"waiting": {"reason": PULLING, "message": 'Back-off pulling image "nosuch"'}}
        return {"phase": "Pending", "initContainerStatuses": [*MESH, {"name": "copy", "state": state}]}
    if not (place / "port").exists():
        copying = {"name": "copy", "state": {"running": {}}}
        return {"phase": "Pending", "initContainerStatuses": [*MESH, copying]}
    server = {"name": "model-server", "state": {"running": {}}, "ready": is_open(place)}
    if (place / "status").exists():
        ended = {"terminated": {"exitCode": int((place / "status").read_text()), "reason": "Error"}}
        return {"phase": "Failed", "containerStatuses": [*MESH, server | {"state": ended, "ready": False}]}
    return {"phase": "Running", "containerStatuses": [*MESH, server]}


def forward(place, port):
    """Forward connections, and end with the first one that does, as kubectl does with one that is reset."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            client, _ = listening.accept()
            server = socket.create_connection(("127.0.0.1", int((place / "port").read_text())))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=pump, args=(source, target)).start()


def pump(source, target):
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    print("error: lost connection to pod", file=sys.stderr)
    os._exit(1)


def main(words):
    with (STATE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(["kubectl", *words]) + "\n")
    match words:
        case ["auth", "can-i", "create", "pods", *subresource]:
            may = os.environ.get("FAKE_MAY_NOT") not in ("pods", *subresource)
            print("yes" if may else "no")
            sys.exit(not may)
        case ["create", "--filename=-"]:
            create(sys.stdin.read())
        case ["get", "pod", name, "--output=json"]:
            print(json.dumps({"status": status(folder(name))}))
        case ["exec", "--stdin", name, "--container=copy", "--", "sh", "-c", command]:
            copy(folder(name), command)
        case ["exec", name, "--container=model-server", "--", "tensorflow_model_server", "--version"]:
            folder(name)
            show_version()
        case ["port-forward", "--address=127.0.0.1", pod, ports]:
            port, of_pod = ports.split(":")
            assert of_pod == "8500"
            with (STATE / "forwarding").open("a") as forwarding:
                forwarding.write(f"{os.getpid()}\n")
            forward(folder(pod.removeprefix("pod/")), int(port))
        case ["logs", name, "--container=model-server"]:
            log = folder(name) / "log"
            if not log.exists():
                fail('Error from server (BadRequest): container "model-server" is waiting to start: PodInitializing')
            print(log.read_text())
        case ["delete", "pod", name, "--now", "--ignore-not-found"]:
            if (STATE / "pods" / name).is_dir():
                kill(folder(name))
                shutil.rmtree(folder(name))
        case _:
            fail(f"error: unknown command or flag: {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
