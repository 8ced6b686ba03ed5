import numpy as np
import pytest


@pytest.fixture
def serve(tmp_path):
    """Save signatures, load them the server's way, and return what calls them: `call(key, inputs)`.

    What a server would answer with is raised as TensorFlow's own error of that code.
    """
    import tensorflow as tf

    from exporter.validation.loaded import LoadedVersion
    from server.errors import ServingError

    open_versions = []

    def save_and_load(signatures, variables=()):
        module = tf.Module()
        module.held = list(variables)
        directory = tmp_path / str(len(open_versions))
        tf.saved_model.save(module, str(directory), signatures={each.key: each.function for each in signatures})
        version = LoadedVersion(directory)
        open_versions.append(version)

        def call(key, inputs):
            try:
                return version.call(key, inputs)
            except ServingError as error:
                kind = tf.compat.v1.errors.exception_type_from_error_code(error.code.value[0])
                raise kind(None, None, error.message) from error

        call.version = version
        return call

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


@pytest.fixture(params=["short rows", "long rows"], scope="module")
def rows(request):
    """Both ways to find the largest: the one for long rows is made to take short ones."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "long rows":
            patch.setattr("signatures.head._LONG", 1)
            patch.setattr("signatures.head._VERY_LONG", 1)
            patch.setattr("signatures.head._CHUNK", 3)
        yield request.param
