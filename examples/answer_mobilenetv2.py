"""The answer's system: MobileNetV2 with eight sigmoid scores an image, of which the smallest become zero.

`python examples/answer_mobilenetv2.py` zeroes two of the eight, `--n-to-zero 4` half of them. It saves the model and
says how to serve it.
"""

from pathlib import Path

import click
import keras
import numpy as np

from exporter.presets.mobilenetv2 import PREPROCESSING, build_mobilenetv2
from signatures.layer import SparsifyTopK

LABELS = 8


@click.command()
@click.option("--n-to-zero", default=2, show_default=True, help="How many of the eight scores become zero.")
@click.option("--weights", default="none", show_default=True, help="none, imagenet or a .weights.h5 file.")
@click.option("--image-size", default=224, show_default=True, help="Height and width of the images.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("answer.keras"), show_default=True)
def main(n_to_zero: int, weights: str, image_size: int, output: Path) -> None:
    """Build the model, ask it with the head on, and save it for serving."""
    keras.utils.set_random_seed(0)  # An untrained model's scores may round to 0 by chance.
    model = build_mobilenetv2(weights, LABELS, image_size)
    # Your own training goes here: model.compile("adam", "binary_crossentropy"), then model.fit(images, labels).

    pixels = np.random.default_rng(0).uniform(0, 255, (4, image_size, image_size, 3)).astype(np.float32)
    images = keras.applications.imagenet_utils.preprocess_input(pixels, mode=PREPROCESSING)
    answers = keras.ops.convert_to_numpy(keras.Sequential([model, SparsifyTopK(n_to_zero=n_to_zero)])(images))
    for number, answer in enumerate(answers):
        print(f"image {number}: {np.round(answer, 3).tolist()}")

    # Without the head: the export puts it on, and lets each request choose its own k.
    model.save(output)
    print(
        f"{output} is saved. To serve it:\n"
        f"  export-model {output} --k {LABELS - n_to_zero} --preprocessing {PREPROCESSING} --output models\n"
        f"  serve-model --model_name={output.stem} --model_base_path=$PWD/models/{output.stem} --port=8500\n"
        f"  serving-client --address localhost:8500 --model {output.stem} check --golden models/{output.stem}/1"
    )


if __name__ == "__main__":
    main()
