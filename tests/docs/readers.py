"""What a reader of each page already has: files, a server, names in Python."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SAMPLES = Path(__file__).parents[2] / "exporter" / "presets" / "digits" / "samples"
WORDS = ["the", "wheel", "came", "off", "a", "good", "day", "bad", "service"]


def text_model(path, labels):
    """Save a model that takes text."""
    import keras

    keras.utils.set_random_seed(1)
    text = keras.Input((), dtype="string", name="text")
    counted = keras.layers.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")(text)
    keras.Model(text, keras.layers.Dense(labels, "sigmoid", kernel_initializer="random_normal")(counted)).save(path)


def image_model(path, labels):
    """Save a model that takes images."""
    import keras

    keras.utils.set_random_seed(1)
    photo = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(photo))
    keras.Model(photo, keras.layers.Dense(labels, "sigmoid")(pooled)).save(path)


def two_models():
    image_model("photos.keras", 4)
    text_model("reviews.keras", 5)
    Path("animals.txt").write_text("cat\ndog\nowl\nfox\n")
    Path("topics.txt").write_text("brakes\nservice\nprice\nstaff\nweather\n")
    Path("reviews.jsonl").write_text('{"text": "the wheel came off"}\n{"text": "a good day"}\n')


def some_models():
    import keras

    image_model("my_model.keras", 4)
    Path("labels.txt").write_text("cat\ndog\nowl\nfox\n")
    digit_images("images")
    keras.utils.set_random_seed(1)
    features = keras.Input((4,), name="features")
    embedding = keras.layers.Dense(3, name="embedding")(features)
    outputs = {"topics": keras.layers.Dense(5, "sigmoid")(embedding), "embedding": embedding}
    keras.Model(features, outputs).save("two_heads.keras")


def digit_images(folder="."):
    Path(folder).mkdir(exist_ok=True)
    for name in ("00.png", "01.png", "02.png"):
        shutil.copy(SAMPLES / name, folder)


def photo():
    shutil.copy(SAMPLES / "00.png", "photo.png")


def callers_files():
    photo()
    Path("reviews.jsonl").write_text('{"text": "the wheel came off"}\n{"text": "a good day"}\n')
    shutil.copy("reviews.jsonl", "texts.jsonl")
    shutil.copy("models/topics/1/assets.extra/tf_serving_warmup_requests", "traffic.tfrecord")


def labeled_digits():
    """Write labeled.npz, with the samples of the preset."""
    from PIL import Image

    truth = json.loads((SAMPLES / "labels.json").read_text("utf-8"))
    names = sorted(truth)
    labels = [str(label) for label in (SAMPLES.parent / "labels.txt").read_text("utf-8").split()]
    images = np.stack([np.asarray(Image.open(SAMPLES / name)) for name in names])[..., np.newaxis] / np.float32(255)
    rows = np.array([[label in truth[name] for label in labels] for name in names], np.float32)
    np.savez("labeled.npz", images=images.astype(np.float32), labels=rows)


def photo_and_labels():
    photo()
    labeled_digits()


@dataclass(frozen=True)
class Reader:
    """What is there before the first line of a page.

    Attributes:
        has: writes the reader's files into the working directory.
        models: whether ./models holds two versions each of digits and topics.
        served: whether these are also served, at the ports 8500 and 8501.
        knows: Python that ran before the first Python block.
        instead: what stands on the page, and what is run in its place.
    """

    has: Callable[[], None] | None = None
    models: bool = False
    served: bool = False
    knows: str = ""
    instead: Mapping[str, str] = field(default_factory=dict)


IMAGES = "import numpy as np\nimages = np.zeros((3, 32, 32, 1), np.float32)"

READERS = {
    "docs/how-to/canary.md": Reader(labeled_digits),
    "docs/how-to/rest.md": Reader(photo),
    "docs/how-to/thresholds.md": Reader(photo_and_labels),
    "README.md": Reader(two_models),
    "docs/checking.md": Reader(served=True),
    "docs/client.md": Reader(callers_files, served=True, knows=IMAGES, instead={" bench ": " bench --count 20 "}),
    "docs/deploying.md": Reader(models=True, instead={" promote ": " promote --yes "}),
    "docs/exporting.md": Reader(some_models),
    "docs/promoting.md": Reader(
        labeled_digits,
        served=True,
        instead={"a:8500,b:8500": "localhost:8500", " promote ": " promote --yes ", " rollback ": " rollback --yes "},
    ),
    "docs/recording.md": Reader(served=True, knows=IMAGES, instead={"share=0.01": "share=1.0"}),
    "docs/samples.md": Reader(callers_files, served=True),
    "docs/signatures.md": Reader(served=True, knows=IMAGES),
    "docs/stand-in-server.md": Reader(models=True, instead={"/srv/models": "{here}/models"}),
}
