"""TARGET of --validate-on: what it may be, and one sentence where it cannot be had."""

import pytest

from exporter import ExportError, ExportOptions
from exporter.checks import check_options
from exporter.validation.on_server.servers.container import ContainerServer
from exporter.validation.on_server.servers.pod import PodServer
from exporter.validation.on_server.target import Target, images_of, targets_of

CPU, GPU = "tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0-gpu"


def test_an_engine_takes_the_image_of_the_export_or_another_one_of_several(engines):
    targets = targets_of(ExportOptions(validate_on=("docker", f"docker:{CPU}", "podman", "kubectl", "docker")))

    assert [str(target) for target in targets] == [f"docker:{GPU}", f"docker:{CPU}", f"podman:{GPU}", f"kubectl:{GPU}"]
    assert targets[0].program == str(engines.programs / "docker")


def test_a_program_is_found_by_its_path_or_on_the_path(tmp_path, monkeypatch):
    program = tmp_path / "tensorflow_model_server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for text in ("tensorflow_model_server", "./tensorflow_model_server", str(program)):
        assert targets_of(ExportOptions(validate_on=(text,))) == [Target("binary", "", str(program))]


@pytest.mark.parametrize("engine", ["docker", "podman", "kubectl"])
def test_an_engine_that_is_not_there_is_one_sentence(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ExportError, match=rf"--validate-on {engine} needs the command {engine}, which is not on the PATH"
    ):
        targets_of(ExportOptions(validate_on=(engine,)))


def test_an_engine_that_does_not_work_says_why(tmp_path, monkeypatch):
    (tmp_path / "docker").write_text(
        "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///d.sock.' >&2\nexit 1\n"
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ExportError, match=r"docker cannot be used here: Cannot connect to the Docker daemon at unix"):
        targets_of(ExportOptions(validate_on=("docker",)))


@pytest.mark.parametrize(
    ("refused", "what"),
    [("pods", "pods"), ("--subresource=exec", "pods/exec"), ("--subresource=portforward", "pods/portforward")],
)
def test_a_cluster_that_refuses_what_is_needed_says_so(engines, monkeypatch, refused, what):
    monkeypatch.setenv("FAKE_MAY_NOT", refused)
    with pytest.raises(ExportError, match=f"kubectl cannot be used here: you may not create {what} in this namespace"):
        targets_of(ExportOptions(validate_on=("kubectl",)))


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        (PodServer, 'Error from server (NotFound): pods "validate" not found'),
        (ContainerServer, "Error: No such object: validate"),
    ],
)
def test_an_engine_that_does_not_answer_says_nothing_about_its_server(kind, gone, tmp_path, servable, work):
    engine = tmp_path / "engine"
    server = kind(Target("docker", CPU, str(engine)), servable(tmp_path), work)
    for words, ended in (("Unable to connect to the server: EOF", False), (gone, True)):
        engine.write_text(f"#!/bin/sh\necho '{words}' >&2; exit 1\n")
        engine.chmod(0o755)
        assert bool(server.ended()) is ended


def test_a_mistyped_target_names_those_that_there_are(tmp_path):
    with pytest.raises(ExportError, match=r"dock: there is no such command or file. Use docker, podman, kubectl, dock"):
        targets_of(ExportOptions(validate_on=("dock",)))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ExportError, match="this file cannot be run"):
        targets_of(ExportOptions(validate_on=(str(tmp_path / "notes.txt"),)))


def test_every_image_that_is_named_must_be_able_to_serve_the_export():
    from exporter import load_classifier
    from exporter.samples.samples import made_up_samples

    assert images_of(["docker:a:1", "docker", "/usr/bin/server", "kubectl:b:2"], GPU) == [GPU, "a:1", "b:2"]
    classifier = load_classifier("digits")
    samples = made_up_samples(classifier.inputs, None)
    options = ExportOptions(validate_on=("docker:tensorflow/serving:2.13.0",))
    with pytest.raises(ExportError, match=r"serving:2\.13\.0 is older than the exporting TensorFlow"):
        check_options(classifier, samples, 2, options)
