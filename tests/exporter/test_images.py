import pytest

from exporter.server_images import DEFAULT_IMAGE, check_image, parse_image


@pytest.mark.parametrize(
    ("image", "version", "gpu"),
    [
        ("tensorflow/serving:2.20.0-gpu", (2, 20, 0), True),
        ("tensorflow/serving:2.20.0", (2, 20, 0), False),
        ("docker.io/tensorflow/serving:2.20.0", (2, 20, 0), False),
        ("tensorflow/serving:2.20", (2, 20), False),
        ("tensorflow/serving:latest-gpu", None, True),
        ("tensorflow/serving", None, False),
        ("registry.example:5000/ours/serving:2.19.1-gpu", (2, 19, 1), True),
        ("registry.example:5000/ours/serving", None, True),
        ("registry.example/ours/serving:2.19.1", (2, 19, 1), True),
        ("tensorflow/serving@sha256:0123456789abcdef", None, True),
        ("tensorflow/serving:2.20.0-gpu@sha256:0123456789abcdef", (2, 20, 0), True),
        ("ours/serving:20240131", None, True),
    ],
)
def test_the_name_of_an_image_tells_its_release_and_whether_it_is_for_a_gpu(image, version, gpu):
    parsed = parse_image(image)

    assert (parsed.version, parsed.gpu) == (version, gpu)


def test_the_default_image_is_for_a_gpu_and_serves_what_it_was_made_for():
    assert parse_image(DEFAULT_IMAGE).gpu
    assert check_image(DEFAULT_IMAGE, "2.20.0", jit_compile=True) == ()


@pytest.mark.parametrize(
    "image", ["tensorflow/serving:2.20.1-gpu", "tensorflow/serving:2.20.0", "tensorflow/serving:2.21.0"]
)
def test_a_server_as_new_as_the_exporting_tensorflow_is_fine_whatever_the_patch_release(image):
    assert check_image(image, "2.20.1") == ()


def test_a_server_older_than_the_exporting_tensorflow_is_refused_with_the_release_to_use():
    (problem,) = check_image("tensorflow/serving:2.20.0-gpu", "2.21.0")

    assert problem.refuses
    assert "2.20.0-gpu" in problem.message
    assert "use 2.21 or newer" in problem.message


def test_a_server_that_ignores_input_defaults_is_refused_for_that_too():
    messages = [problem.message for problem in check_image("tensorflow/serving:2.13.1-gpu", "2.13.0")]

    assert len(messages) == 1
    assert "default of k" in messages[0]


def test_xla_needs_a_server_that_has_it_on_a_gpu():
    (problem,) = check_image("tensorflow/serving:2.17.1-gpu", "2.17.0", jit_compile=True)

    assert problem.refuses
    assert "XLA" in problem.message
    assert check_image("tensorflow/serving:2.17.1", "2.17.0", jit_compile=True) == ()
    assert check_image("tensorflow/serving:2.17.1-gpu", "2.17.0") == ()


@pytest.mark.parametrize("image", ["tensorflow/serving:latest-gpu", "registry.example:5000/ours/serving"])
def test_an_image_that_does_not_say_its_release_is_a_warning_only(image):
    (problem,) = check_image(image, "2.20.0")

    assert not problem.refuses
    assert image in problem.message


def test_release_candidates_count_as_their_release():
    assert check_image("tensorflow/serving:2.21.0-rc1", "2.21.0") == ()
    assert check_image("tensorflow/serving:2.20.0", "2.21.0rc1")
