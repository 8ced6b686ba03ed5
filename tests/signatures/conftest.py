import numpy as np
import pytest


@pytest.fixture
def serve(tmp_path):
    """Save signatures, load them the server's way, and give what calls them: `call(key, inputs)`."""
    import tensorflow as tf

    from exporter.validation.loaded import LoadedVersion

    open_versions = []

    def save_and_load(signatures, variables=()):
        module = tf.Module()
        module.held = list(variables)
        directory = tmp_path / str(len(open_versions))
        tf.saved_model.save(module, str(directory), signatures={each.key: each.function for each in signatures})
        version = LoadedVersion(directory)
        open_versions.append(version)
        return version.call

    yield save_and_load
    for version in open_versions:
        version.__exit__(None, None, None)


@pytest.fixture
def identity():
    import tensorflow as tf

    from signatures import Identity

    return Identity(lambda: tf.constant("id-1"), "toy", 2, ("a", "b", "c", "d"), None, "digest")


@pytest.fixture
def keep_k_largest():
    """The head in numpy: `keep_k_largest(dense, k)` with k a number or one a row."""

    def keep(dense, k):
        order = np.argsort(-dense, axis=1, kind="stable")
        ranks = np.argsort(order, axis=1, kind="stable")
        return np.where(ranks < np.reshape(k, (-1, 1)), dense, 0)

    return keep
