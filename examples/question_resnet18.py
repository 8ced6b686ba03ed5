"""The question's system: ResNet-18 with eight sigmoid scores an image, of which at most two may be non-zero.

`python examples/question_resnet18.py` builds it for training with the regularizer that the question asked for, puts the
head on, which is what holds the promise, saves the model and says how to serve it.
"""

from pathlib import Path

import click
import keras
import numpy as np

from exporter.presets.resnet18 import PREPROCESSING, build_resnet18
from signatures.layer import SparsifyTopK
from signatures.regularizer import TopKMassRegularizer

K = 2


@click.command()
@click.option("--weights", default="none", show_default=True, help="none or a .weights.h5 file.")
@click.option("--image-size", default=224, show_default=True, help="Height and width of the images, 65 or more.")
@click.option("--weight", default=0.1, show_default=True, help="What probability outside the two largest costs.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("question.keras"), show_default=True)
def main(weights: str, image_size: int, weight: float, output: Path) -> None:
    """Build the model with the regularizer, ask it with the head on, and save it for serving."""
    keras.utils.set_random_seed(0)  # An untrained model's scores may round to 0 by chance.
    model = build_resnet18(weights, image_size=image_size)
    model.layers[-1].activity_regularizer = TopKMassRegularizer(k=K, weight=weight)
    # Your own training goes here: model.compile("adam", "binary_crossentropy"), then model.fit(images, labels).

    pixels = np.random.default_rng(0).uniform(0, 255, (4, image_size, image_size, 3)).astype(np.float32)
    images = keras.applications.imagenet_utils.preprocess_input(pixels, mode=PREPROCESSING)
    answers = keras.ops.convert_to_numpy(keras.Sequential([model, SparsifyTopK(k=K)])(images))
    for number, answer in enumerate(answers):
        print(f"image {number}: {np.round(answer, 3).tolist()}")

    # Without the head: the export puts it on, and lets each request choose its own k.
    model.save(output)
    print(
        f"{output} is saved. To serve it:\n"
        f"  export-model {output} --k {K} --preprocessing {PREPROCESSING} --output models\n"
        f"  serve-model --model_name={output.stem} --model_base_path=$PWD/models/{output.stem} --port=8500\n"
        f"  serving-client --address localhost:8500 --model {output.stem} check --golden models/{output.stem}/1"
    )


if __name__ == "__main__":
    main()
