"""Python values to the tf.Example messages that the Classify API takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from client.errors import InputError
from client.rpc.calls import Call, classify_call
from client.rpc.codec import as_array
from client.rpc.messages import Example
from client.rpc.metadata import Target


def classify_examples(
    target: Target, signature: str, examples: Sequence[Mapping[str, Any]]
) -> Call[list[list[tuple[str, float]]]]:
    """Return the Classify call for examples given as features by name; raises InputError where there are none."""
    if not examples:
        raise InputError("no examples were given to classify: send at least one")
    return classify_call(target, signature, [example_message(example) for example in examples])


def example_message(features: Mapping[str, Any]) -> Any:
    """Return a tf.Example: of each value, or list or array of values, bytes and str, whole numbers, or floats.

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
