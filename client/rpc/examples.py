"""Convert Python values to the tf.Example messages that the Classify API takes."""

from collections.abc import Mapping
from typing import Any

from client.errors import InputError
from client.rpc.codec import as_array
from client.rpc.messages import Example


def example_message(features: Mapping[str, Any]) -> Any:
    """Return a tf.Example. Each feature is a value, list or array of bytes and str, whole numbers, or floats.

    Example: `example_message({"image/encoded": png, "k": 2})`.
    """
    example = Example()
    for name, value in features.items():
        values = as_array(value).reshape(-1).tolist()
        feature = example.features.feature[name]
        try:
            values = [item.encode() if isinstance(item, str) else item for item in values]
            if all(isinstance(item, bytes) for item in values):
                feature.bytes_list.value.extend(values)
            elif all(isinstance(item, int) for item in values):
                feature.int64_list.value.extend(int(item) for item in values)
            else:
                feature.float_list.value.extend(values)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"feature {name} holds {value!r}: it must be bytes or str, whole numbers or floats"
            ) from error
    return example
