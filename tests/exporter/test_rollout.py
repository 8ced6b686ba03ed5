"""The gates in deploy/rollout/: valid against the schemas of their kinds, and about the version that they name."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from exporter.deploy import gate, write_server_files
from exporter.deploy.start import ServerStart
from signatures.contract.record import ExportRecord

KUBERNETES = ("1.27", "1.30", "1.37")
SCHEMAS = {
    "AnalysisTemplate": "argo-analysistemplate.yaml",
    "Rollout": "argo-rollout.yaml",
    "Canary": "flagger-canary.yaml",
    "InferenceService": "kserve-inferenceservice.yaml",
}
GATES = (
    "argo-rollouts.yaml",
    "flagger.yaml",
    "kserve-config.yaml",
    "kserve-knative.yaml",
    "kserve-knative-check.yaml",
    "kserve-standard.yaml",
    "kserve-standard-check.yaml",
)
# Not a document of its own.
PATCH = "kserve-standard-canary.yaml"
# What a container is, among the fields of KServe's model.
CONTAINER = ("image", "args", "env", "ports", "resources", "volumeMounts")


def publish(output, model, version):
    """Put a version there whose record says what it needs."""
    ExportRecord(
        export_id="1" * 32,
        model=model,
        k=2,
        labels=("a", "b"),
        preprocessing=None,
        golden_digest="2" * 64,
        warmup_seconds=120,
        memory={"total": 3 * 2**29},
    ).write(output / model / str(version))


@pytest.fixture
def output(tmp_path):
    """An output directory with two versions of a model."""
    for version in (1, 2):
        publish(tmp_path, "2nd_Model.b", version)
        write_server_files(tmp_path, "2nd_Model.b", version)
    return tmp_path


def documents(output, name, model="2nd_Model.b"):
    return list(yaml.safe_load_all((output / "deploy" / "rollout" / model / name).read_text()))


def of_kind(output, name, kind):
    (document,) = (each for each in documents(output, name) if each["kind"] == kind)
    return document


def schema_of(kind):
    return strict(yaml.safe_load((Path(__file__).parent / "crds" / SCHEMAS[kind]).read_text()))


def strict(schema):
    """The schema as an API server takes it that refuses fields it does not know, where it would else drop them."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        inner.setdefault("additionalProperties", False)
    return inner


def with_canary(output):
    """The InferenceService of the version before with the patch that puts the candidate beside it."""
    (patch,) = documents(output, PATCH)
    service = of_kind(output, "kserve-standard.yaml", "InferenceService")
    service["spec"]["predictor"] |= {"name": "v1"}
    return {**service, "spec": service["spec"] | patch["spec"]}


def pod_templates(document):
    """Every pod template in a document, wherever its kind has it."""
    if isinstance(document, list):
        return [template for each in document for template in pod_templates(each)]
    if not isinstance(document, dict):
        return []
    own = [document["template"]] if "containers" in document.get("template", {}).get("spec", {}) else []
    return own + [template for value in document.values() for template in pod_templates(value)]


def as_deployment(template):
    labels = template["metadata"]["labels"]
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}


def served_alone(config_map):
    config = text_format.Parse(config_map["data"]["models.config"], model_server_config_pb2.ModelServerConfig())
    (entry,) = config.model_config_list.config
    return entry.base_path, list(entry.model_version_policy.specific.versions), dict(entry.version_labels)


# Valid


@pytest.mark.parametrize("name", GATES)
def test_each_gate_is_valid_against_the_schemas_of_its_kinds(output, name):
    for document in documents(output, name):
        if document["kind"] in SCHEMAS:
            jsonschema.validate(document, schema_of(document["kind"]))
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)


def test_the_patch_makes_a_valid_service_of_one_that_there_is(output):
    (patch,) = documents(output, PATCH)
    # Whatever else it held would overwrite the version that callers get.
    assert patch.keys() == {"spec"}
    assert patch["spec"].keys() == {"canary"}

    jsonschema.validate(with_canary(output), schema_of("InferenceService"))


def test_the_schemas_refuse_what_no_such_kind_has(output):
    rollout = of_kind(output, "argo-rollouts.yaml", "Rollout")
    rollout["spec"]["strategy"]["blueGreen"]["prePromotionAnalyses"] = {}
    with pytest.raises(jsonschema.ValidationError, match="prePromotionAnalyses"):
        jsonschema.validate(rollout, schema_of("Rollout"))

    canary = of_kind(output, "flagger.yaml", "Canary")
    canary["spec"]["analysis"]["webhooks"][0]["type"] = "before"
    with pytest.raises(jsonschema.ValidationError, match="before"):
        jsonschema.validate(canary, schema_of("Canary"))


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_pods_and_jobs_within_other_kinds_are_valid_too(output, version):
    analysis = of_kind(output, "argo-rollouts.yaml", "AnalysisTemplate")
    (metric,) = analysis["spec"]["metrics"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "x"},
        "spec": metric["provider"]["job"]["spec"],
    }
    kubernetes_validate.validate(job, version, strict=True)
    templates = [template for name in GATES for template in pod_templates(documents(output, name))]
    assert len(templates) == 6
    for template in templates:
        if template["spec"].get("restartPolicy") != "Never":
            kubernetes_validate.validate(as_deployment(template), version, strict=True)
    for service in (of_kind(output, "kserve-knative.yaml", "InferenceService"), with_canary(output)):
        spec = service["spec"]
        for predictor in [spec["predictor"], *(each["predictor"] for each in spec.get("canary", ()))]:
            container = {"name": "x", **{key: predictor["model"][key] for key in CONTAINER}}
            pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
            pod["spec"]["volumes"] = predictor["volumes"]
            kubernetes_validate.validate(as_deployment(pod), version, strict=True)


@pytest.mark.parametrize("name", [*GATES, PATCH])
def test_each_gate_says_that_no_cluster_has_seen_it(output, name):
    text = (output / "deploy" / "rollout" / "2nd_Model.b" / name).read_text()

    header = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("\n".join(header))
    assert any("never applied to a cluster" in line for line in header)


# The version is in the pod template


def mounted(template_spec):
    """The ConfigMap that a pod mounts."""
    (name,) = (volume["configMap"]["name"] for volume in template_spec["volumes"] if "configMap" in volume)
    return name


@pytest.mark.parametrize(("name", "kind"), [("argo-rollouts.yaml", "Rollout"), ("flagger.yaml", "Deployment")])
def test_a_new_version_changes_the_pod_template_and_nothing_else_does(output, name, kind):
    def template():
        (found,) = (
            each["spec"]["template"]
            for each in documents(output, name)
            if each["kind"] == kind and each["metadata"]["name"] == "model-2nd-model-b"
        )
        return found

    before = template()
    assert mounted(before["spec"]) == "model-2nd-model-b-v2"
    assert served_alone(of_kind(output, name, "ConfigMap")) == ("/models/2nd_Model.b", [2], {"stable": 2})
    assert of_kind(output, name, "ConfigMap")["metadata"]["name"] == mounted(before["spec"])

    publish(output, "cats", 1)
    write_server_files(output, "cats", 1)
    assert template() == before

    publish(output, "2nd_Model.b", 3)
    write_server_files(output, "2nd_Model.b", 3)
    after = template()
    assert mounted(after["spec"]) == "model-2nd-model-b-v3"
    assert after != before
    # The selector of a Deployment cannot change.
    assert (
        after["metadata"]["labels"]["app.kubernetes.io/name"] == before["metadata"]["labels"]["app.kubernetes.io/name"]
    )


def test_the_server_of_a_candidate_reads_its_config_from_the_config_map_and_never_again(output):
    template = of_kind(output, "argo-rollouts.yaml", "Rollout")["spec"]["template"]
    (container,) = template["spec"]["containers"]

    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"models": "/models", "config": "/etc/model-server"}
    assert "--model_config_file=/etc/model-server/models.config" in container["args"]
    assert not any("poll" in argument for argument in container["args"])
    assert container["resources"]["requests"] == {"memory": "2048Mi"}
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] == 1200
    assert of_kind(output, "argo-rollouts.yaml", "Rollout")["spec"]["progressDeadlineSeconds"] > 1200


def test_argo_switches_between_services_that_are_there_and_waits_for_the_check(output):
    rollout = of_kind(output, "argo-rollouts.yaml", "Rollout")["spec"]
    found = {(each["kind"], each["metadata"]["name"]) for each in documents(output, "argo-rollouts.yaml")}
    strategy = rollout["strategy"]["blueGreen"]

    assert ("Service", strategy["activeService"]) in found
    assert ("Service", strategy["previewService"]) in found
    (template,) = strategy["prePromotionAnalysis"]["templates"]
    assert ("AnalysisTemplate", template["templateName"]) in found
    labels = rollout["template"]["metadata"]["labels"]
    assert rollout["selector"]["matchLabels"].items() <= labels.items()
    (metric,) = of_kind(output, "argo-rollouts.yaml", "AnalysisTemplate")["spec"]["metrics"]
    # One failure that is let through would promote whatever fails the only check.
    assert (metric["count"], metric["failureLimit"]) == (1, 0)


def test_flagger_waits_for_the_command_of_its_webhook(output):
    canary = of_kind(output, "flagger.yaml", "Canary")["spec"]
    found = {(each["kind"], each["metadata"]["name"]) for each in documents(output, "flagger.yaml")}
    (webhook,) = canary["analysis"]["webhooks"]

    assert (canary["targetRef"]["kind"], canary["targetRef"]["name"]) in found
    # Of another type the answer comes before the command has run.
    assert webhook["metadata"]["type"] == "bash"
    assert webhook["type"] == "pre-rollout"
    service = webhook["url"].removeprefix("http://").split(".")[0]
    assert ("Service", service) in found
    # Flagger makes the Service of the model itself, and would find one that is there already in its way.
    assert {name for kind, name in found if kind == "Service"} == {service}
    assert "--address=model-2nd-model-b-canary.default:8500" in webhook["metadata"]["cmd"]


def test_knative_keeps_a_candidate_dark_and_reachable(output):
    service = of_kind(output, "kserve-knative.yaml", "InferenceService")
    annotations = service["metadata"]["annotations"]

    assert service["spec"]["predictor"]["canaryTrafficPercent"] == 0
    assert annotations["serving.kserve.io/enable-tag-routing"] == "true"
    # A cluster that runs services without Knative ignores the percentage, unless this says otherwise.
    assert annotations["serving.kserve.io/deploymentMode"] == "Serverless"
    assert mounted(service["spec"]["predictor"]) == "model-2nd-model-b-v2"
    config = of_kind(output, "kserve-config.yaml", "ConfigMap")
    assert config["metadata"]["name"] == "model-2nd-model-b-v2"
    assert served_alone(config) == ("/mnt/models", [2], {"stable": 2})


def test_without_knative_a_candidate_stands_beside_whichever_version_there_is(output):
    (patch,) = documents(output, PATCH)
    (canary,) = patch["spec"]["canary"]
    service = of_kind(output, "kserve-standard.yaml", "InferenceService")

    assert canary["trafficPercent"] == 0
    assert canary["predictor"]["name"] == "v2"
    assert mounted(canary["predictor"]) == "model-2nd-model-b-v2"
    # Promoted, the same predictor takes the place of the one before: KServe then leaves its pods alone.
    assert service["spec"] == {"predictor": canary["predictor"]}
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"


# The check


def check_containers(output):
    templates = [template for name in GATES for template in pod_templates(documents(output, name))]
    return [
        (template["spec"], container)
        for template in templates
        for container in template["spec"]["containers"]
        if container["name"] == "check"
    ]


def test_each_job_reads_the_golden_records_and_cannot_change_them(output):
    checks = check_containers(output)
    assert len(checks) == 3

    for pod, container in checks:
        (mount,) = container["volumeMounts"]
        assert mount["readOnly"]
        assert mount["mountPath"] == "/models"
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
        assert pod["securityContext"] == {"runAsNonRoot": True}
        assert "golden=/models/2nd_Model.b/" in " ".join(container["command"])


def test_a_no_ends_the_job_and_a_server_out_of_reach_is_asked_again(output):
    (metric,) = of_kind(output, "argo-rollouts.yaml", "AnalysisTemplate")["spec"]["metrics"]
    spec = metric["provider"]["job"]["spec"]
    rules = spec["podFailurePolicy"]["rules"]

    actions = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    assert actions == {1: "FailJob", 2: "FailJob", 3: "Count", 4: "Count"}
    (name,) = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    assert name == spec["template"]["spec"]["containers"][0]["name"]
    # Kubernetes applies such a policy to pods that are never restarted, and to no others.
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["backoffLimit"] > 0
    # An image that cannot be pulled fails no Job.
    assert spec["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("name", ["kserve-knative-check.yaml", "kserve-standard-check.yaml"])
def test_under_kserve_a_version_that_is_not_there_yet_is_asked_for_again(output, name):
    rules = of_kind(output, name, "Job")["spec"]["podFailurePolicy"]["rules"]

    actions = {code: rule["action"] for rule in rules for code in rule.get("onExitCodes", {}).get("values", ())}
    assert actions == {1: "FailJob", 2: "Count", 3: "Count", 4: "Count"}


def test_kubernetes_finds_no_variable_of_its_own_in_a_command(output):
    for _, container in check_containers(output):
        assert not any("$(" in word or "$$" in word for word in container["command"])


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("kserve-knative-check.yaml", "latest-model-2nd-model-b-predictor.default.svc.cluster.local:80"),
        ("kserve-standard-check.yaml", "model-2nd-model-b-v2-predictor:9000"),
    ],
)
def test_under_kserve_the_check_is_of_the_version_that_the_file_names(output, name, address):
    job = of_kind(output, name, "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]

    assert job["metadata"]["name"] == "model-2nd-model-b-v2-check"
    assert container["command"] == [
        "serving-client",
        f"--address={address}",
        "--model=2nd_Model.b",
        "check",
        "--version=2",
        "--golden=/models/2nd_Model.b/2",
        "--gpu",
        "--json",
    ]


def test_a_server_without_a_gpu_is_held_to_the_tolerance_of_a_cpu(tmp_path):
    start = ServerStart(image="tensorflow/serving:2.20.0", root="/models/")
    candidate = gate.Candidate(start=start, model="digits", version=7)

    assert "--gpu" not in gate.check_command(candidate, "localhost:8500")
    assert "--golden=/models/digits/7" in gate.check_command(candidate, "localhost:8500")


@pytest.mark.parametrize("kind", ["argo", "flagger"])
def test_the_script_of_a_controller_is_the_check_of_whatever_version_answers(output, kind):
    """A rollback changes the pod template and not the gate, which must not hold out for the newer version."""
    if kind == "argo":
        (metric,) = of_kind(output, "argo-rollouts.yaml", "AnalysisTemplate")["spec"]["metrics"]
        (container,) = metric["provider"]["job"]["spec"]["template"]["spec"]["containers"]
        shell, option, script = container["command"]
        assert (shell, option) == ("sh", "-c")
        address = "model-2nd-model-b-preview:8500"
    else:
        canary = of_kind(output, "flagger.yaml", "Canary")
        script = canary["spec"]["analysis"]["webhooks"][0]["metadata"]["cmd"]
        address = "model-2nd-model-b-canary.default:8500"

    candidate = gate.Candidate(
        start=ServerStart(image="tensorflow/serving:2.20.0-gpu", root="/models"), model="2nd_Model.b", version=2
    )
    assert script == gate.check_script(candidate, address)
    assert "v2" not in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


# Long and odd names


def test_a_name_with_characters_of_the_shell_stays_one_word(tmp_path):
    start = ServerStart(image="tensorflow/serving:2.20.0", root="/srv/my models")
    candidate = gate.Candidate(start=start, model="a b$c'd", version=1)
    # In the place of the client: it says what it was asked, and answers that version 5 is served.
    stub = tmp_path / "serving-client"
    stub.write_text("#!/bin/sh\nprintf '<%s>' \"$@\" >&2; echo '{\"version\": 5}'\n")
    stub.chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin"

    script = gate.check_script(candidate, "host:1")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": path})

    assert done.stderr == (
        "<--address=host:1><--model=a b$c'd><metadata><--json>"
        "<--address=host:1><--model=a b$c'd><check><--version=5><--golden=/srv/my models/a b$c'd/5><--json>"
    )


# The image


def dockerfile_pins(output):
    text = (output / "deploy" / "rollout" / "Dockerfile").read_text()
    return dict(re.findall(r"^    ([\w.-]+)==([\w.!+]+)", text, re.MULTILINE))


def test_the_image_has_the_client_and_no_tensorflow(output):
    text = (output / "deploy" / "rollout" / "Dockerfile").read_text()
    instructions = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    pins = dockerfile_pins(output)

    assert instructions[0].startswith("FROM python:3.12-slim")
    assert "USER 65532" in instructions
    assert instructions[-1] == "FROM client"
    assert {"sparsehead", "grpcio", "numpy", "protobuf", "click"} <= set(pins)
    assert not {"tensorflow", "keras", "pyyaml", "tensorflow-serving-api"} & set(pins)


def test_the_image_has_all_that_the_command_imports(output):
    # What an editable install brings along is there before.
    code = (
        "import sys, json; old = set(sys.modules); import client.cli; print(json.dumps(list(set(sys.modules) - old)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in json.loads(done.stdout)} - set(sys.stdlib_module_names)
    pins = {name.replace("_", "-").lower() for name in dockerfile_pins(output)}

    from importlib.metadata import packages_distributions

    distributions = packages_distributions()
    third_party = {
        name.replace("_", "-").lower()
        for module in imported - {"client", "signatures"}
        for name in distributions.get(module, ())
        if "site-packages" in str(getattr(importlib.import_module(module), "__file__", ""))
    }
    assert {"click", "grpcio", "numpy", "rich"} <= third_party
    # The types' packages hold no code.
    assert {name for name in third_party if not name.startswith("types-")} <= pins
