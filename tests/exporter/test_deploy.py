import shlex
import threading
import time
from pathlib import Path

import grpc
import kubernetes_validate
import pytest
import tensorflow as tf
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from exporter.deploy import named_versions, write_server_files
from exporter.errors import ExportError, StoreError
from server import ModelServer, Settings
from server.cli import main as serve_model_command
from server.config import read_batching_parameters
from signatures.contract.record import ExportRecord
from signatures.contract.server_messages import monitoring_config

LABELS_FLAG = "--allow_version_labels_for_unavailable_models=true"


def publish(output, model, *versions, **stated):
    """Put directories where a server would find versions of a model."""
    identity = {"export_id": "1" * 32, "k": 2, "labels": ("a", "b"), "preprocessing": None, "golden_digest": "2" * 64}
    for version in versions:
        ExportRecord(model=model, **{**identity, **stated}).write(output / model / str(version))


def export(output, model, version, warmup_seconds=None, memory=None, **options):
    stated = {"warmup_seconds": warmup_seconds, "memory": memory and {"total": memory}}
    publish(output, model, version, **stated)
    return write_server_files(output, model, version, **options)


def models_config(output):
    text = (output / "deploy" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {entry.name: entry for entry in config.model_config_list.config}


def served(entry):
    return list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


def edit_models_config(output, change):
    entries = models_config(output)
    change(entries)
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.extend(entries.values())
    (output / "deploy" / "models.config").write_text(text_format.MessageToString(config))


def promote(output, model, version, label="stable"):
    """Do to the file what `serving-client promote` does."""

    def change(entries):
        entries[model].version_labels[label] = version

    edit_models_config(output, change)


def documents(output, name):
    return list(yaml.safe_load_all((output / "deploy" / name).read_text()))


def states(result):
    return {file.path.name: file.state for file in result.files}


def written(output):
    """Every file below deploy/."""
    return [file for file in (output / "deploy").rglob("*") if file.is_file()]


# models.config


def test_models_config_lists_every_model_of_the_output_directory(tmp_path):
    for model in ("digits", "cats", "x-rays"):
        export(tmp_path, model, 1, serving_root="/srv/models")
    (tmp_path / "notes").mkdir()
    (tmp_path / "unfinished" / ".staging-1").mkdir(parents=True)

    entries = models_config(tmp_path)

    assert set(entries) == {"digits", "cats", "x-rays"}
    assert all(entry.base_path == f"/srv/models/{name}" for name, entry in entries.items())
    assert all(entry.model_platform == "tensorflow" for entry in entries.values())


def test_a_model_that_was_published_before_there_was_a_models_config_is_listed_with_its_newest_version(tmp_path):
    publish(tmp_path, "cats", 1, 2, 10)
    export(tmp_path, "digits", 1)

    assert served(models_config(tmp_path)["cats"]) == ([10], {"stable": 10})


def test_a_second_version_is_loaded_beside_the_stable_one_as_canary(tmp_path):
    export(tmp_path, "digits", 1)
    assert served(models_config(tmp_path)["digits"]) == ([1], {"stable": 1})

    export(tmp_path, "digits", 2)

    assert served(models_config(tmp_path)["digits"]) == ([1, 2], {"stable": 1, "canary": 2})


def test_labels_that_were_moved_stay_where_they_are(tmp_path):
    export(tmp_path, "digits", 1)
    export(tmp_path, "digits", 2)
    promote(tmp_path, "digits", 2)

    result = export(tmp_path, "digits", 3)

    assert served(models_config(tmp_path)["digits"]) == ([1, 2, 3], {"stable": 2, "canary": 2})
    (note,) = result.notes
    assert "canary still names version 2" in note
    assert "--version 3" in note


def test_a_label_that_nobody_has_names_the_new_version(tmp_path):
    export(tmp_path, "digits", 1)
    export(tmp_path, "digits", 2)
    promote(tmp_path, "digits", 2)
    edit_models_config(tmp_path, lambda entries: entries["digits"].version_labels.pop("canary"))

    export(tmp_path, "digits", 3)

    assert served(models_config(tmp_path)["digits"]) == ([1, 2, 3], {"stable": 2, "canary": 3})


def test_versions_that_no_label_names_are_dropped_but_for_the_one_to_roll_back_to(tmp_path):
    for version in (1, 2, 3):
        export(tmp_path, "digits", version)
    promote(tmp_path, "digits", 3)
    promote(tmp_path, "digits", 3, "canary")
    promote(tmp_path, "digits", 1, "pinned")

    result = export(tmp_path, "digits", 4)
    assert served(models_config(tmp_path)["digits"])[0] == [1, 2, 3, 4]

    result = export(tmp_path, "digits", 5)
    assert served(models_config(tmp_path)["digits"])[0] == [1, 2, 3, 5]
    assert any("unload version 4" in note for note in result.notes)


@pytest.mark.parametrize("policy", ["latest", "all", None])
def test_a_policy_that_a_person_chose_is_left_alone_with_its_labels(tmp_path, policy):
    export(tmp_path, "digits", 1)

    def change(entries):
        entries["digits"].ClearField("model_version_policy")
        if policy:
            getattr(entries["digits"].model_version_policy, policy).SetInParent()

    edit_models_config(tmp_path, change)
    before = models_config(tmp_path)

    result = export(tmp_path, "digits", 2)

    assert models_config(tmp_path) == before
    assert states(result)["models.config"] == "unchanged"
    assert any("digits" in note for note in result.notes)


def test_an_export_keeps_all_else_that_a_person_wrote(tmp_path):
    export(tmp_path, "digits", 1)

    def change(entries):
        entries["digits"].base_path = "/elsewhere/digits"
        entries["digits"].logging_config.sampling_config.sampling_rate = 0.5
        entries["gone"] = model_server_config_pb2.ModelConfig(name="gone", base_path="/models/gone")

    edit_models_config(tmp_path, change)

    result = export(tmp_path, "digits", 2)

    entries = models_config(tmp_path)
    assert entries["digits"].base_path == "/elsewhere/digits"
    assert entries["digits"].logging_config.sampling_config.sampling_rate == 0.5
    assert "gone" in entries
    # A server waits for a version of each model before it opens its port.
    assert any("gone" in note and "no port" in note for note in result.notes)
    assert any("/elsewhere/digits" in note for note in result.notes)


def test_a_version_that_an_operator_took_out_does_not_come_back_with_another_models_export(tmp_path):
    export(tmp_path, "digits", 1)
    export(tmp_path, "digits", 2)

    def change(entries):
        del entries["digits"].version_labels["canary"]
        entries["digits"].model_version_policy.specific.versions[:] = [1]

    edit_models_config(tmp_path, change)

    export(tmp_path, "cats", 1)

    assert served(models_config(tmp_path)["digits"]) == ([1], {"stable": 1})


def test_comments_that_cannot_be_kept_are_announced_and_stay_where_nothing_changes(tmp_path):
    export(tmp_path, "digits", 1)
    file = tmp_path / "deploy" / "models.config"
    file.write_text("# ask ops first\n" + file.read_text())

    write_server_files(tmp_path, "digits", 1)
    assert file.read_text().startswith("# ask ops first\n")

    result = export(tmp_path, "digits", 2)
    assert any("comments" in note for note in result.notes)


@pytest.mark.parametrize("text", ["model_config_list {", 'custom_model_config { type_url: "x" }'])
def test_a_models_config_that_cannot_be_read_is_kept_and_the_right_one_written_beside_it(tmp_path, text):
    export(tmp_path, "digits", 1)
    file = tmp_path / "deploy" / "models.config"
    file.write_text(text)

    result = export(tmp_path, "digits", 2)

    assert file.read_text() == text
    assert states(result)["models.config"] == "kept"
    assert any("models.config" in note for note in result.notes)
    beside = file.with_name("models.config.new").read_text()
    text_format.Parse(beside, model_server_config_pb2.ModelServerConfig())


def test_exporters_at_once_lose_none_of_each_others_models(tmp_path):
    models = [f"model-{number}" for number in range(8)]
    threads = [threading.Thread(target=export, args=(tmp_path, model, 1)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(models_config(tmp_path)) == set(models)


def test_versions_in_use_are_those_that_a_label_or_the_policy_names(tmp_path):
    assert named_versions(tmp_path, "digits") == frozenset()
    export(tmp_path, "digits", 1)
    export(tmp_path, "digits", 2)
    promote(tmp_path, "digits", 7, "pinned")

    assert named_versions(tmp_path, "digits") == {1, 2, 7}
    assert named_versions(tmp_path, "cats") == frozenset()


class Constant(tf.Module):
    """A model that answers with a number of its own."""

    def __init__(self, number):
        self.number = tf.Variable(number)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def call(self, x):
        return {"y": x * 0.0 + self.number}


def save_constant(output, version):
    module = Constant(float(version))
    tf.saved_model.save(module, str(output / "digits" / str(version)), {"serving_default": module.call})


def answer_for(stub, label, deadline):
    """What a server answers for a label, as soon as it does."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version_label = label
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([0.0]))
    while True:
        try:
            return tf.make_ndarray(stub.Predict(request, timeout=30).outputs["y"]).tolist()
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_running_server_takes_what_each_export_and_promotion_makes_of_the_file(tmp_path):
    root = str(tmp_path)
    save_constant(tmp_path, 1)
    write_server_files(tmp_path, "digits", 1, serving_root=root)
    settings = Settings(
        model_config_file=str(tmp_path / "deploy" / "models.config"),
        model_config_file_poll_wait_seconds=1,
        allow_version_labels_for_unavailable_models=True,
    )
    with ModelServer(settings) as server, grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        deadline = time.monotonic() + 120
        assert answer_for(stub, "stable", deadline) == [1.0]

        save_constant(tmp_path, 2)
        write_server_files(tmp_path, "digits", 2, serving_root=root)
        assert answer_for(stub, "canary", deadline) == [2.0]
        assert answer_for(stub, "stable", deadline) == [1.0]

        promote(tmp_path, "digits", 2)
        save_constant(tmp_path, 3)
        write_server_files(tmp_path, "digits", 3, serving_root=root)
        # A new label can only be known once the whole file was accepted, with version 3 in it.
        promote(tmp_path, "digits", 3, "third")
        assert answer_for(stub, "third", deadline) == [3.0]
        assert answer_for(stub, "stable", deadline) == [2.0]
        assert answer_for(stub, "canary", deadline) == [2.0]


# The same on this machine


def local_config(output):
    text = (output / "deploy" / "local" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {entry.name: entry for entry in config.model_config_list.config}


def test_the_local_config_has_the_same_versions_and_labels_with_the_paths_of_this_machine(tmp_path):
    publish(tmp_path, "cats", 4)
    export(tmp_path, "digits", 1, serving_root="/srv/models")
    export(tmp_path, "digits", 2, serving_root="/srv/models")

    local = local_config(tmp_path)

    assert {name: served(entry) for name, entry in local.items()} == {
        name: served(entry) for name, entry in models_config(tmp_path).items()
    }
    assert served(local["digits"]) == ([1, 2], {"stable": 1, "canary": 2})
    assert {name: entry.base_path for name, entry in local.items()} == {
        name: str(tmp_path / name) for name in ("cats", "digits")
    }


def test_every_export_writes_the_local_config_anew_from_the_other(tmp_path):
    export(tmp_path, "digits", 1)
    export(tmp_path, "digits", 2)
    file = tmp_path / "deploy" / "local" / "models.config"
    # A promotion that was rehearsed moves labels in the local file alone.
    file.write_text(file.read_text().replace('key: "stable"\n      value: 1', 'key: "stable"\n      value: 2'))
    assert served(local_config(tmp_path)["digits"])[1] == {"stable": 2, "canary": 2}

    export(tmp_path, "digits", 3)

    assert served(models_config(tmp_path)["digits"]) == ([1, 2, 3], {"stable": 1, "canary": 2})
    assert served(local_config(tmp_path)["digits"]) == ([1, 2, 3], {"stable": 1, "canary": 2})


def test_the_local_config_leaves_out_what_would_keep_the_port_closed(tmp_path):
    export(tmp_path, "digits", 1)

    def change(entries):
        entries["gone"] = model_server_config_pb2.ModelConfig(name="gone", base_path="/models/gone")
        entries["digits"].base_path = "/elsewhere/digits"

    edit_models_config(tmp_path, change)
    export(tmp_path, "digits", 2)

    assert {name: entry.base_path for name, entry in local_config(tmp_path).items()} == {
        "digits": str(tmp_path / "digits")
    }


def test_a_local_config_that_is_no_text_is_written_anew(tmp_path):
    export(tmp_path, "digits", 1)
    (tmp_path / "deploy" / "local" / "models.config").write_bytes(b"\xff")

    export(tmp_path, "digits", 2)

    assert served(local_config(tmp_path)["digits"]) == ([1, 2], {"stable": 1, "canary": 2})


def test_a_models_config_that_cannot_be_read_leaves_the_local_one_as_it_was(tmp_path):
    export(tmp_path, "digits", 1)
    before = local_config(tmp_path)
    (tmp_path / "deploy" / "models.config").write_text("model_config_list {")

    export(tmp_path, "digits", 2)

    assert local_config(tmp_path) == before


def test_the_line_that_is_printed_starts_the_stand_in_with_the_local_config(tmp_path, monkeypatch):
    save_constant(tmp_path, 1)
    write_server_files(tmp_path, "digits", 1)
    save_constant(tmp_path, 2)
    monkeypatch.chdir(tmp_path.parent)
    result = write_server_files(Path(tmp_path.name), "digits", 2, batching={"max_batch_size": 8})
    assert f"# {result.serve_model}\n" in (tmp_path / "deploy" / "local" / "models.config").read_text()
    command, *flags = shlex.split(result.serve_model)
    assert command == "serve-model"
    # Any directory will do, and any port.
    with serve_model_command.make_context(command, [*flags, "--port=0", "--rest_api_port=0"]) as context:
        settings = Settings(**context.params)
    monkeypatch.chdir("/")

    with ModelServer(settings) as server, grpc.insecure_channel(f"localhost:{server.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        deadline = time.monotonic() + 120
        assert answer_for(stub, "stable", deadline) == [1.0]
        assert answer_for(stub, "canary", deadline) == [2.0]


# What starts a server


def test_compose_reserves_a_gpu_and_mounts_the_models_read_only(tmp_path):
    result = export(tmp_path, "digits", 1, serving_root="/srv/models", image="tensorflow/serving:2.20.0-gpu")
    (compose,) = documents(tmp_path, "compose.yaml")

    (service,) = compose["services"].values()
    assert service["image"] == "tensorflow/serving:2.20.0-gpu"
    assert service["ports"] == ["8500:8500", "8501:8501"]
    (volume,) = service["volumes"]
    assert volume == {"type": "bind", "source": "..", "target": "/srv/models", "read_only": True}
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert LABELS_FLAG in service["command"]
    assert "--model_config_file=/srv/models/deploy/models.config" in service["command"]
    assert f"# {result.docker_run}\n" in (tmp_path / "deploy" / "compose.yaml").read_text()


def test_the_docker_line_starts_the_same_server(tmp_path):
    result = export(tmp_path, "digits", 1)
    (compose,) = documents(tmp_path, "compose.yaml")
    (service,) = compose["services"].values()

    words = shlex.split(result.docker_run)

    assert words[:2] == ["docker", "run"]
    assert "--gpus=1" in words
    assert "--mount=type=bind,source=$PWD,target=/models,readonly" in words
    assert {"--publish=8500:8500", "--publish=8501:8501"} <= set(words)
    image = words.index(service["image"])
    assert words[image + 1 :] == service["command"]


def test_an_image_for_a_cpu_gets_no_gpu(tmp_path):
    result = export(tmp_path, "digits", 1, image="tensorflow/serving:2.20.0")

    assert "--gpus" not in result.docker_run
    for name in ("compose.yaml", "kubernetes.yaml", "kserve.yaml"):
        text = (tmp_path / "deploy" / name).read_text()
        assert "nvidia" not in text


@pytest.mark.parametrize("version", ["1.27", "1.30", "1.37"])
def test_the_kubernetes_files_are_valid(tmp_path, version):
    export(tmp_path, "digits", 1, batching={"max_batch_size": 8}, warmup_seconds=70.5, memory=3 * 2**30)

    for document in [*documents(tmp_path, "kubernetes.yaml"), *documents(tmp_path, "autoscaling.yaml")]:
        kubernetes_validate.validate(document, version, strict=True)


def test_the_autoscaler_and_the_budget_are_about_the_deployment(tmp_path):
    export(tmp_path, "digits", 1)
    deployment, _ = documents(tmp_path, "kubernetes.yaml")
    autoscaler, budget = documents(tmp_path, "autoscaling.yaml")

    target = autoscaler["spec"]["scaleTargetRef"]
    assert all(target[key] == deployment[key] for key in ("apiVersion", "kind"))
    assert target["name"] == deployment["metadata"]["name"]
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    # Applying the Deployment again would undo what the autoscaler chose.
    assert "replicas" not in deployment["spec"]
    # A budget that asks for replicas to stay would keep a node with the only one from being drained.
    assert budget["spec"]["maxUnavailable"] == 1
    # A share of the requested CPU is no metric where none is requested.
    (metric,) = autoscaler["spec"]["metrics"]
    assert metric["resource"]["target"]["type"] == "AverageValue"


@pytest.mark.parametrize(
    ("warmup_seconds", "patience"),
    [(None, 600), (3.0, 600), (70.5, 705)],
)
def test_the_startup_probe_has_ten_times_the_patience_that_the_warmup_took(tmp_path, warmup_seconds, patience):
    export(tmp_path, "digits", 1, warmup_seconds=warmup_seconds)
    deployment, _ = documents(tmp_path, "kubernetes.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == patience
    # A rollout that is still starting is not reported as stuck.
    assert deployment["spec"]["progressDeadlineSeconds"] > patience


def test_the_memory_that_a_server_needs_is_requested_where_it_is_known(tmp_path):
    export(tmp_path, "digits", 1, image="tensorflow/serving:2.20.0")
    assert "resources" not in documents(tmp_path, "kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]

    export(tmp_path, "digits", 2, memory=9 * 2**30 + 1)

    deployment, _ = documents(tmp_path, "kubernetes.yaml")
    resources = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"memory": "9729Mi"}, "limits": {"nvidia.com/gpu": 1}}
    (service,) = documents(tmp_path, "kserve.yaml")
    resources = service["spec"]["predictor"]["model"]["resources"]
    # A limit below the request is refused.
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == "9729Mi"


def container_of(output, name):
    """The server's container in the Deployment of a file."""
    deployments = (each for each in documents(output, name) if each["kind"] in ("Deployment", "Rollout"))
    (container,) = next(deployments)["spec"]["template"]["spec"]["containers"]
    return container


def needs(container):
    """The memory that a container requests, in Mi, and the seconds that it may take to start."""
    probe = container["startupProbe"]
    return container["resources"]["requests"]["memory"], probe["periodSeconds"] * probe["failureThreshold"]


def test_a_server_needs_what_all_versions_need_that_it_loads(tmp_path):
    """A server's own 512 Mi, and each of the versions that models.config loads, one after another."""
    cpu = {"image": "tensorflow/serving:2.20.0"}
    export(tmp_path, "digits", 1, warmup_seconds=50, memory=100 * 2**20, **cpu)
    export(tmp_path, "cats", 7, warmup_seconds=20, memory=1000 * 2**20, **cpu)
    assert needs(container_of(tmp_path, "kubernetes.yaml")) == ("1612Mi", 700)

    export(tmp_path, "digits", 2, warmup_seconds=60, memory=200 * 2**20, **cpu)
    assert needs(container_of(tmp_path, "kubernetes.yaml")) == ("1812Mi", 1300)
    # A server that is rolled out has one version, and KServe loads the newest of each model.
    assert needs(container_of(tmp_path, "rollout/digits/argo-rollouts.yaml")) == ("712Mi", 600)
    requested = {
        each["metadata"]["name"]: each["spec"]["predictor"]["model"]["resources"]["requests"]["memory"]
        for each in documents(tmp_path, "kserve.yaml")
    }
    assert requested == {"digits": "712Mi", "cats": "1512Mi"}

    # Versions 1 and 2 are no longer loaded.
    promote(tmp_path, "digits", 2)
    promote(tmp_path, "digits", 2, "canary")
    export(tmp_path, "digits", 3, warmup_seconds=1, memory=2**20, **cpu)
    promote(tmp_path, "digits", 3)
    promote(tmp_path, "digits", 3, "canary")
    export(tmp_path, "digits", 4, warmup_seconds=1, memory=2**20, **cpu)
    assert sorted(served(models_config(tmp_path)["digits"])[0]) == [2, 3, 4]
    assert needs(container_of(tmp_path, "kubernetes.yaml")) == ("1714Mi", 820)


def test_a_model_of_another_policy_needs_what_that_policy_loads(tmp_path):
    cpu = {"image": "tensorflow/serving:2.20.0"}
    for version in (1, 2, 3):
        export(tmp_path, "digits", version, memory=100 * 2**20, **cpu)

    def latest(number):
        def change(entries):
            entries["digits"].ClearField("version_labels")
            entries["digits"].model_version_policy.latest.num_versions = number

        return change

    edit_models_config(tmp_path, latest(2))
    write_server_files(tmp_path, "digits", 3, **cpu)
    assert container_of(tmp_path, "kubernetes.yaml")["resources"]["requests"]["memory"] == "712Mi"
    edit_models_config(tmp_path, lambda entries: entries["digits"].model_version_policy.all.SetInParent())
    write_server_files(tmp_path, "digits", 3, **cpu)
    assert container_of(tmp_path, "kubernetes.yaml")["resources"]["requests"]["memory"] == "812Mi"


def test_a_record_that_somebody_changed_requests_nothing_of_what_it_says(tmp_path):
    publish(tmp_path, "digits", 1, memory={"total": "a lot"}, warmup_seconds="long")
    write_server_files(tmp_path, "digits", 1, image="tensorflow/serving:2.20.0")
    assert "resources" not in container_of(tmp_path, "kubernetes.yaml")


def test_a_server_on_a_gpu_takes_memory_as_it_needs_it(tmp_path):
    result = export(tmp_path, "digits", 1, image="tensorflow/serving:2.20.0-gpu")
    (compose,) = documents(tmp_path, "compose.yaml")
    deployment, _ = documents(tmp_path, "kubernetes.yaml")
    (kserve,) = documents(tmp_path, "kserve.yaml")

    (service,) = compose["services"].values()
    assert service["environment"] == {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    variable = {"name": "TF_FORCE_GPU_ALLOW_GROWTH", "value": "true"}
    assert deployment["spec"]["template"]["spec"]["containers"][0]["env"] == [variable]
    assert kserve["spec"]["predictor"]["model"]["env"] == [variable]
    words = shlex.split(result.docker_run)
    assert words.index("--env=TF_FORCE_GPU_ALLOW_GROWTH=true") < words.index("tensorflow/serving:2.20.0-gpu")

    export(tmp_path, "digits", 2, image="tensorflow/serving:2.20.0")
    assert not any("ALLOW_GROWTH" in file.read_text() for file in written(tmp_path))


def test_the_deployment_asks_for_a_gpu_and_probes_the_health_service_that_it_turns_on(tmp_path):
    export(tmp_path, "digits", 1)
    deployment, service = documents(tmp_path, "kubernetes.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert "--enable_grpc_healthcheck_service=true" in container["args"]
    assert LABELS_FLAG in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        # No service name: the server answers for itself as a whole, and knows no other.
        assert container[probe]["grpc"] == {"port": 8500}
    assert [port["containerPort"] for port in container["ports"]] == [8500, 8501]
    (mount,) = container["volumeMounts"]
    assert mount["readOnly"]
    assert mount["mountPath"] == "/models"
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["readOnly"]
    assert volume["name"] == mount["name"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8500, 8501]


def test_kserve_gets_one_service_a_model_with_the_image_and_the_directory_above_the_versions(tmp_path):
    publish(tmp_path, "2nd_Model.b", 1)
    export(tmp_path, "digits", 1, image="tensorflow/serving:2.20.0-gpu")

    services = {document["metadata"]["name"]: document for document in documents(tmp_path, "kserve.yaml")}

    assert set(services) == {"digits", "model-2nd-model-b"}
    assert all(document["kind"] == "InferenceService" for document in services.values())
    model = services["model-2nd-model-b"]["spec"]["predictor"]["model"]
    assert model["image"] == "tensorflow/serving:2.20.0-gpu"
    assert model["storageUri"] == "pvc://models/2nd_Model.b"
    assert "--model_name=2nd_Model.b" in model["args"]
    assert {"--port=9000", "--rest_api_port=8080", "--model_base_path=/mnt/models"} <= set(model["args"])
    assert model["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize(
    ("image", "flag"),
    [
        ("tensorflow/serving:2.20.0-gpu", "--xla_gpu_compilation_enabled=true"),
        ("tensorflow/serving:2.20.0", "--xla_cpu_compilation_enabled=true"),
    ],
)
def test_a_model_that_must_be_compiled_gets_the_flag_whichever_model_is_exported_next(tmp_path, image, flag):
    assert "xla" not in export(tmp_path, "digits", 1, image=image).docker_run
    publish(tmp_path, "compiled", 1, jit_compile=True)

    result = export(tmp_path, "cats", 1, image=image)

    assert flag in result.docker_run
    for name in ("compose.yaml", "kubernetes.yaml", "kserve.yaml"):
        assert flag in (tmp_path / "deploy" / name).read_text()


def test_monitoring_is_on_for_prometheus(tmp_path):
    result = export(tmp_path, "digits", 1)

    config = text_format.Parse((tmp_path / "deploy" / "monitoring.config").read_text(), monitoring_config())

    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"
    assert "--monitoring_config_file=/models/deploy/monitoring.config" in result.docker_run


def test_batching_is_written_where_asked_and_stays_on_in_later_exports(tmp_path):
    batching = {"max_batch_size": 32, "batch_timeout_micros": 2000, "allowed_batch_sizes": [1, 4, 16, 32]}
    file = tmp_path / "deploy" / "batching.config"

    assert "batching" not in export(tmp_path, "digits", 1).docker_run
    assert not file.exists()

    export(tmp_path, "digits", 2, batching=batching)
    later = export(tmp_path, "cats", 1)

    # The stand-in reads the file as the real server does, and knows nothing of how it was written.
    read = read_batching_parameters(Settings(enable_batching=True, batching_parameters_file=str(file)))
    assert read.max_batch_size == 32
    assert read.batch_timeout_micros == 2000
    assert read.allowed_batch_sizes == (1, 4, 16, 32)
    assert "--enable_batching=true --batching_parameters_file=/models/deploy/batching.config" in later.docker_run


@pytest.mark.parametrize(
    ("batching", "named"),
    [
        ({"max_batch": 32}, "max_batch"),
        ({"max_batch_size": "many"}, "many"),
        ({"max_batch_size": 32, "allowed_batch_sizes": [1, 16]}, "32"),
        ({"max_batch_size": 32, "allowed_batch_sizes": [16, 1, 32]}, "rise"),
    ],
)
def test_batching_parameters_that_a_server_would_refuse_are_refused_before_anything_is_written(
    tmp_path, batching, named
):
    publish(tmp_path, "digits", 1)

    with pytest.raises(ExportError, match=named):
        write_server_files(tmp_path, "digits", 1, batching=batching)

    assert not (tmp_path / "deploy").exists()


# Files that people edit


def test_writing_again_changes_nothing(tmp_path):
    export(tmp_path, "digits", 1)
    before = {file: (file.read_bytes(), file.stat().st_ino) for file in written(tmp_path)}

    result = write_server_files(tmp_path, "digits", 1)

    assert set(states(result).values()) == {"unchanged"}
    assert result.notes == ()
    assert before == {file: (file.read_bytes(), file.stat().st_ino) for file in written(tmp_path)}


def test_an_edited_file_is_kept_and_the_new_one_lies_beside_it(tmp_path):
    export(tmp_path, "digits", 1)
    file = tmp_path / "deploy" / "compose.yaml"
    edited = file.read_text().replace("8500:8500", "9500:8500")
    file.write_text(edited)

    result = export(tmp_path, "digits", 2, image="tensorflow/serving:2.21.0-gpu")

    assert file.read_text() == edited
    assert "2.21.0-gpu" in file.with_name("compose.yaml.new").read_text()
    assert states(result)["compose.yaml"] == "kept"
    assert states(result)["kubernetes.yaml"] == "written"
    assert any("compose.yaml" in note and "compose.yaml.new" in note for note in result.notes)


def test_a_file_is_ours_again_once_the_edit_is_taken_over_or_gone(tmp_path):
    export(tmp_path, "digits", 1)
    compose, kserve = (tmp_path / "deploy" / name for name in ("compose.yaml", "kserve.yaml"))
    compose.write_text("services: {}\n")
    kserve.unlink()
    export(tmp_path, "digits", 2, image="tensorflow/serving:2.21.0-gpu")
    assert "2.21.0" in kserve.read_text()
    compose.with_name("compose.yaml.new").replace(compose)

    result = export(tmp_path, "digits", 3, image="tensorflow/serving:2.22.0-gpu")

    assert states(result)["compose.yaml"] == "kept"

    compose.with_name("compose.yaml.new").replace(compose)
    again = states(write_server_files(tmp_path, "digits", 3, image="tensorflow/serving:2.22.0-gpu"))
    assert {"models.config", "monitoring.config", "compose.yaml", "kubernetes.yaml", "kserve.yaml"} <= set(again)
    assert set(again.values()) == {"unchanged"}
    assert states(export(tmp_path, "digits", 4))["compose.yaml"] == "written"


def test_without_its_record_every_file_counts_as_edited(tmp_path):
    export(tmp_path, "digits", 1)
    (tmp_path / "deploy" / ".written.json").write_text("{")

    result = export(tmp_path, "digits", 2, image="tensorflow/serving:2.21.0-gpu")

    assert states(result)["kubernetes.yaml"] == "kept"
    assert states(result)["monitoring.config"] == "unchanged"


def test_every_file_ends_with_a_newline_and_none_is_left_half_written(tmp_path):
    export(tmp_path, "digits", 1, batching={"max_batch_size": 4})

    files = {file.relative_to(tmp_path / "deploy").as_posix(): file.read_text() for file in written(tmp_path)}

    assert set(files) == {
        ".written.json",
        "alerts.yaml",
        "autoscaling.yaml",
        "batching.config",
        "compose.yaml",
        "dashboard.json",
        "kserve.yaml",
        "kubernetes.yaml",
        "local/models.config",
        "models.config",
        "monitoring.config",
        "rollout/.written.json",
        "rollout/Dockerfile",
        "rollout/digits/.written.json",
        "rollout/digits/argo-rollouts.yaml",
        "rollout/digits/flagger.yaml",
        "rollout/digits/kserve-config.yaml",
        "rollout/digits/kserve-knative-check.yaml",
        "rollout/digits/kserve-knative.yaml",
        "rollout/digits/kserve-standard-canary.yaml",
        "rollout/digits/kserve-standard-check.yaml",
        "rollout/digits/kserve-standard.yaml",
    }
    assert all(text.endswith("\n") and not text.endswith("\n\n") for text in files.values())


def test_a_directory_that_cannot_be_written_to_is_one_sentence(tmp_path):
    publish(tmp_path, "digits", 1)
    (tmp_path / "deploy").write_text("a file")

    with pytest.raises(StoreError, match=r"deploy cannot be written to: \w.*\.$"):
        write_server_files(tmp_path, "digits", 1)
