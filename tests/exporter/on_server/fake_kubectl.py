"""A kubectl that runs the stand-in server on this machine as a pod: the part of its command line that is used."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fake_containers import STATE, fail, kill, show_version, start_server

PULLING = "ImagePullBackOff"


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
        return {"phase": "Pending", "initContainerStatuses": [{"state": state}]}
    if not (place / "port").exists():
        return {"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}
    if (place / "status").exists():
        ended = {"terminated": {"exitCode": int((place / "status").read_text()), "reason": "Error"}}
        return {"phase": "Failed", "containerStatuses": [{"state": ended, "ready": False}]}
    return {"phase": "Running", "containerStatuses": [{"state": {"running": {}}, "ready": is_open(place)}]}


def main(words):
    with (STATE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(["kubectl", *words]) + "\n")
    match words:
        case ["auth", "can-i", "create", "pods"]:
            print(os.environ.get("FAKE_MAY", "yes"))
            sys.exit(os.environ.get("FAKE_MAY", "yes") != "yes")
        case ["create", "--filename=-"]:
            create(sys.stdin.read())
        case ["get", "pod", name, "--output=json"]:
            print(json.dumps({"status": status(folder(name))}))
        case ["exec", "--stdin", name, "--container=copy", "--", "sh", "-c", command]:
            copy(folder(name), command)
        case ["exec", name, "--container=model-server", "--", "tensorflow_model_server", "--version"]:
            folder(name)
            show_version()
        case ["port-forward", "--address=127.0.0.1", pod, ":8500"]:
            place = folder(pod.removeprefix("pod/"))
            if not is_open(place):
                fail("error: lost connection to pod")
            print(f"Forwarding from 127.0.0.1:{(place / 'port').read_text()} -> 8500", flush=True)
            (STATE / "forwarding").write_text(str(os.getpid()))
            time.sleep(600)
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
