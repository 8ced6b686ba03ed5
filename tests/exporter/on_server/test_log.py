"""What is read from a server's log."""

from exporter.validation.on_server.log import device, is_lost, last_words

# In the form of a real server's log.
ABSENT_SIGNATURE = """\
2025-11-25 10:00:00.000001: I tensorflow_serving/model_servers/server.cc:77] Building a model
2025-11-25 10:00:01.000001: I tensorflow_serving/core/loader_harness.cc:71] Loading version {name: m version: 6}
2025-11-25 10:00:02.000001: E tensorflow_serving/util/retrier.cc:37] Loading servable: {name: m version: 6} failed: \
FAILED_PRECONDITION: Serving signature key "nosuch" not found.
2025-11-25 10:00:02.000002: I tensorflow_serving/core/loader_harness.cc:231] Load completed
Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available
"""


def test_the_last_words_are_the_lines_that_complain_without_their_dates():
    words = last_words(ABSENT_SIGNATURE)
    first, second = words.splitlines()
    assert first.startswith("E tensorflow_serving/util/retrier.cc:37] Loading servable: {name: m version: 6} failed:")
    assert second.startswith("Failed to start server.")


def test_a_server_that_died_is_heard_to_its_last_line():
    words = last_words(
        "I loading\n2025-11-25 10:00:00.000001: F tensorflow/core/framework/tensor_shape.cc:357] Check failed: index\n"
    )
    assert words == "F tensorflow/core/framework/tensor_shape.cc:357] Check failed: index"


def test_a_log_that_complains_of_nothing_ends_with_its_last_lines():
    assert last_words("one\ntwo\nthree\nfour\nfive\n\n") == "two\nthree\nfour\nfive"
    assert last_words("\n") == ""


def test_a_version_that_failed_to_load_is_lost_and_one_that_loads_is_not():
    assert is_lost(ABSENT_SIGNATURE)
    # The stand-in's line.
    assert is_lost("Loading servable {name: m version: 6} failed: no")
    assert is_lost("FileSystemStoragePathSource encountered a filesystem access error: Could not find base path /m for")
    assert not is_lost("Loading servable version {name: m version: 6}")


def test_the_device_is_the_gpu_that_the_log_names():
    line = (
        "I0000 00:00:1764064800.000000 1 gpu_device.cc:2020] Created device "
        "/job:localhost/replica:0/task:0/device:GPU:0 with 129215 MB memory:  -> "
        "device: 0, name: NVIDIA H200, pci bus id: 0000:00:04.0, compute capability: 9.0\n"
    )
    assert device(f"first\n{line}") == "GPU NVIDIA H200, compute capability 9.0"
    assert device("E failed call to cuInit: INTERNAL: CUDA error: no device") == "CPU"
