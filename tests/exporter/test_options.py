"""What the options of `export-model` do, alone and out of a file."""

import hashlib
import json
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from exporter import ExportError, ExportOptions
from exporter.cli.command import main
from signatures import Batching


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A small model's file, in the directory that the command runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    keras.utils.set_random_seed(1)
    keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(3, activation="sigmoid")]).save(
        "toy.keras"
    )
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def exported(*arguments):
    """The summary of an export of the small model."""
    result = run("toy.keras", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refusal(*arguments, status=2):
    """The sentence that the command refuses with."""
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stderr


def record(path):
    return json.loads((path / "assets.extra" / "export.json").read_text())


def test_a_file_of_options_is_taken_and_the_command_line_goes_first(toy):
    (toy / "export.toml").write_text(
        'k = 3\noutput = "elsewhere"\nname = "named"\nactivation = "sigmoid"\nsignature = ["top_k"]\nstrict = true\n'
    )

    summary = exported("--config", "export.toml", "--k", 1)

    assert (summary["path"], summary["k"]) == ("elsewhere/named/1", 1)
    assert summary["signatures"] == ["serving_default", "top_k", "export_info"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kk = 3", "sets 'kk', which is not an option"),
        ("k = ", "could not be read as TOML"),
        ('k = "many"', "'many' is not a valid integer"),
        ('precision = "float8"', "'float8' is not one of"),
    ],
)
def test_a_file_of_options_that_cannot_be_is_wrong_usage(toy, text, words):
    (toy / "export.toml").write_text(text)
    assert words in refusal("toy.keras", "--config", "export.toml")
    assert "could not be read" in refusal("toy.keras", "--config", "absent.toml")
    assert not (toy / "models").exists()


def test_a_dry_run_does_everything_but_publish(toy):
    summary = exported("--dry-run")
    assert (summary["path"], summary["dry_run"]) == ("models/toy/1", True)
    assert not (toy / "models").exists()

    exported()
    before = sorted(path.name for path in (toy / "models").rglob("*"))
    result = run("toy.keras", "--dry-run", "--keep", 1)
    assert "Dry run: models/toy/2 would be published" in result.stdout
    assert sorted(path.name for path in (toy / "models").rglob("*")) == before


def test_the_list_shows_every_version_of_every_model(toy):
    exported()
    exported("--k", 1)
    exported("--name", "other")
    (toy / "models" / "foreign" / "7").mkdir(parents=True)

    versions = json.loads(run("--list", "--json").stdout)["versions"]

    assert [(each["model"], each["version"], each["k"]) for each in versions] == [
        ("foreign", 7, None),
        ("other", 1, 2),
        ("toy", 1, 2),
        ("toy", 2, 1),
    ]
    ours = versions[-1]
    assert ours["tensorflow"] == tf.__version__
    assert ours["export_id"] == record(toy / "models" / "toy" / "2")["export_id"]
    assert ours["bytes"] == sum(f.stat().st_size for f in (toy / "models" / "toy" / "2").rglob("*") if f.is_file())
    shown = run("--list").stdout
    assert all(word in shown for word in ("foreign", "not ours", "toy", tf.__version__, ours["created"]))
    assert "cannot be read" in refusal("--list", "--output", "nowhere", status=4)


def test_the_list_shows_which_version_has_which_label(toy):
    exported()
    exported("--k", 1)
    exported("--name", "other")

    versions = json.loads(run("--list", "--json").stdout)["versions"]

    assert [(each["model"], each["version"], each["labels"]) for each in versions] == [
        ("other", 1, ["stable"]),
        ("toy", 1, ["stable"]),
        ("toy", 2, ["canary"]),
    ]
    assert all(label in run("--list").stdout for label in ("stable", "canary"))

    (toy / "models" / "deploy" / "models.config").write_text("model_config_list {")
    broken = run("--list", "--json")
    assert [each["labels"] for each in json.loads(broken.stdout)["versions"]] == [[], [], []]
    assert "Note: labels are unknown: models.config is not" in broken.stderr


def test_only_the_newest_are_kept_and_those_that_the_server_is_told_of(toy):
    exported()
    for _ in range(3):
        exported()
    removed = exported("--keep", 1)["removed"]

    # 1 is stable, 2 is canary, and the newest export is loaded too; see docs/deploying.md.
    assert removed == [3, 4]
    assert sorted(child.name for child in (toy / "models" / "toy").iterdir()) == [".last_version", "1", "2", "5"]


def test_a_version_can_be_chosen_if_it_is_above_all_that_were_used(toy):
    assert exported("--version", 7)["version"] == 7
    assert "7 was already used, and numbers only rise. Use 8 or more." in refusal("toy.keras", "--version", 7, status=4)
    before = int(time.time())
    assert exported("--version", "timestamp")["version"] >= before
    assert "use a number, or the word timestamp" in refusal("toy.keras", "--version", "newest")
    assert sorted(int(path.name) for path in (toy / "models" / "toy").glob("[0-9]*"))[0] == 7


def test_golden_records_can_be_written_elsewhere_and_leave_their_digest(toy):
    path = toy / exported("--golden-output", "private/golden")["path"]

    golden = toy / "private" / "golden"
    assert record(path)["golden_digest"] == hashlib.sha256(golden.read_bytes()).hexdigest()
    assert not (path / "assets.extra" / "golden_predictions").exists()
    assert "assets.extra/golden_predictions" not in record(path)["files"]


def test_golden_records_elsewhere_are_those_of_the_last_version_that_was_published(toy):
    exported("--golden-output", "golden")
    before = (toy / "golden").read_bytes()
    np.savez("samples.npz", features=np.zeros((2, 4), np.float32), labels=np.ones((2, 3), np.uint8))

    refusal("toy.keras", "--golden-output", "golden", "--samples", "samples.npz", "--min-exact-match", 1, status=1)
    exported("--golden-output", "golden", "--samples", "samples.npz", "--dry-run")

    assert (toy / "golden").read_bytes() == before
    assert not list(toy.glob("golden.*"))
    said = refusal("toy.keras", "--golden-output", "toy.keras/golden", status=4)
    assert "toy.keras cannot be written to" in said


def test_golden_records_take_no_more_room_than_allowed(toy):
    np.savez("samples.npz", features=np.random.default_rng(0).random((200, 4), np.float32))
    path = toy / exported("--samples", "samples.npz", "--golden-megabytes", 0.01)["path"]
    assert 9_000 < (path / "assets.extra" / "golden_predictions").stat().st_size <= 10_000 + 200 * 16


@pytest.mark.parametrize(
    ("name", "text"), [("labels.txt", "cat\ndog\nlarge bird\n"), ("labels.json", '["cat", "dog", "large bird"]')]
)
def test_labels_are_read_by_index(toy, name, text):
    (toy / name).write_text(text)
    assert record(toy / exported("--labels", name)["path"])["labels"] == ["cat", "dog", "large bird"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("labels.txt", "cat\ndog\n", "2 labels were given for a model with 3 outputs"),
        ("labels.txt", "", "holds no list of labels"),
        ("labels.txt", "cat\n\ndog\n", "holds no list of labels"),
        ("labels.json", '{"cat": 0}', "holds no list of labels"),
        ("labels.json", "[1, 2, 3]", "holds no list of labels"),
        ("labels.json", "[", "could not be read"),
        ("labels.txt", None, "could not be read"),
    ],
)
def test_labels_that_do_not_fit_are_refused(toy, name, text, words):
    if text is not None:
        (toy / name).write_text(text)
    assert words in refusal("toy.keras", "--labels", name)
    assert not (toy / "models").exists()


def test_a_batch_timeout_of_zero_is_one(toy):
    path = toy / exported("--batching", "in-graph", "--batch-timeout-micros", 0)["path"]
    assert record(path)["batching"]["batch_timeout_micros"] == 0
    assert "must be at least 1" in refusal("toy.keras", "--batching", "in-graph", "--max-batch-size", 0)


def test_a_failed_proof_is_status_1_and_says_where_it_is_kept(toy):
    np.savez("samples.npz", features=np.zeros((2, 4), np.float32), labels=np.ones((2, 3), np.uint8))
    said = refusal("toy.keras", "--samples", "samples.npz", "--min-exact-match", 1, "--keep-failed", status=1)
    (kept,) = (toy / "models" / "toy").iterdir()
    assert f"kept in models/toy/{kept.name}" in said
    assert "below --min-exact-match" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"version": 0}, "version is 0; use 1 or more"),
        ({"keep": 0}, "keep is 0; use 1 or more"),
        ({"golden_megabytes": 0}, "use a number above 0"),
        ({"golden_megabytes": float("nan")}, "use a number above 0"),
        ({"min_f1": float("nan")}, "min_f1 is nan; use a number from 0 to 1"),
        ({"min_exact_match": 95}, "min_exact_match is 95; use a number from 0 to 1"),
        ({"serving_root": "models"}, "use an absolute path"),
        ({"batching": Batching(max_batch_size=4, max_request_size=8)}, "use at least 16"),
    ],
)
def test_values_that_cannot_be_are_refused_as_a_library_too(given, words):
    with pytest.raises(ExportError, match=words):
        ExportOptions(**given)


def test_a_fraction_in_a_file_of_options_became_a_whole_number_without_a_word(toy):
    for text, words in {
        "k = 2.5": "export.toml sets k = 2.5; use a whole number.",
        "k = 2.0": "export.toml sets k = 2.0; use a whole number.",
        "k = true": "export.toml sets k = True; use a whole number.",
        "k = [2]": "export.toml sets k = [2]; use a whole number.",
        "keep = 1.5": "export.toml sets keep = 1.5; use a whole number.",
        "allowed-batch-size = [4, 8.5]": "use a whole number or a list of these.",
        "min-f1 = true": "export.toml sets min-f1 = True; use a number.",
        "strict = 2": "export.toml sets strict = 2; use true or false.",
        "output = 1979-05-27": "use a string.",
        "name = {a = 1}": "use a string.",
        "pad-to = [16, 32.5]": "is not a list of lengths",
    }.items():
        (toy / "export.toml").write_text(text)
        assert words in refusal("toy.keras", "--config", "export.toml"), text
    assert not (toy / "models").exists()


def test_one_value_will_do_where_a_file_of_options_may_have_a_list(toy):
    # The byte order mark is what some editors begin every file with.
    (toy / "export.toml").write_text('signature = "top_k"\nversion = 7\nmin-f1 = 0\n', encoding="utf-8-sig")
    np.savez(toy / "samples.npz", features=np.zeros((2, 4), np.float32), labels=np.ones((2, 3), np.uint8))
    summary = exported("--config", "export.toml", "--samples", "samples.npz")
    assert summary["signatures"] == ["serving_default", "top_k", "export_info"]
    assert summary["version"] == 7


@pytest.mark.parametrize("text", ["\ufeffcat\ndog\nbird", "cat\ndog\nbird\n\n", "cat\r\ndog\r\nbird\r\n \r\n"])
def test_labels_may_begin_with_a_byte_order_mark_and_end_with_blank_lines(toy, text):
    (toy / "labels.txt").write_text(text, encoding="utf-8", newline="")
    assert record(toy / exported("--labels", "labels.txt")["path"])["labels"] == ["cat", "dog", "bird"]


def test_a_json_list_of_labels_may_begin_with_a_byte_order_mark(toy):
    (toy / "labels.json").write_text('["cat", "dog", "bird"]', encoding="utf-8-sig")
    assert record(toy / exported("--labels", "labels.json")["path"])["labels"] == ["cat", "dog", "bird"]


def test_a_name_that_is_too_long_for_a_file_system_was_a_traceback(toy):
    assert "The model's name has 300 characters" in refusal("toy.keras", "--name", "n" * 300)
    assert exported("--name", "n" * 255)["model"] == "n" * 255
    assert "cannot be written to: File name too long" in refusal("toy.keras", "--output", "n" * 300, status=4)


def test_what_xla_cannot_compile_was_a_traceback(toy):
    word = keras.Input((1,), name="word", dtype="string")
    known = keras.layers.StringLookup(vocabulary=["word1", "word2"])(word)
    scores = keras.layers.Dense(3, activation="sigmoid")(keras.layers.Flatten()(keras.layers.Embedding(4, 3)(known)))
    keras.Model(word, scores).save("words.keras")
    said = refusal("words.keras", "--jit-compile")
    assert "XLA cannot compile strings, which the model takes as word: leave out --jit-compile." in said

    number = keras.Input((1,), name="number", dtype="int32")
    known = keras.layers.IntegerLookup(vocabulary=[1, 2])(number)
    scores = keras.layers.Dense(3, activation="sigmoid")(keras.layers.Flatten()(keras.layers.Embedding(4, 3)(known)))
    keras.Model(number, scores).save("numbers.keras")
    said = refusal("numbers.keras", "--jit-compile", status=1)
    assert "serving_default with k = N fails: Detected unsupported operations" in said
    assert "Leave out --jit-compile." in said
    assert not (toy / "models").exists()


def test_a_model_that_runs_but_cannot_be_traced_was_a_traceback(toy, monkeypatch):
    (toy / "untraceable.py").write_text(
        "import keras\nimport tensorflow as tf\n\n\n"
        "class Branches(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x if float(tf.reduce_sum(x)) > 0 else -x\n\n"
        "    def compute_output_spec(self, x):\n"
        "        return keras.KerasTensor(x.shape, x.dtype)\n\n\n"
        "def build():\n"
        "    x = keras.Input((3,))\n"
        "    return keras.Model(x, keras.layers.Activation('sigmoid')(Branches()(x)))\n"
    )
    monkeypatch.syspath_prepend(toy)
    said = refusal("untraceable:build")
    assert "The model runs, but cannot be traced into a graph: " in said
    assert not (toy / "models").exists()


def test_bounds_on_what_a_precision_changes_are_options(toy):
    said = refusal("digits", "--precision", "mixed_bfloat16", "--max-deviation", 0.001, status=1)
    assert "more than --max-deviation 0.001 allows" in said
    result = run("digits", "--json", "--precision", "mixed_float16", "--max-deviation", 0.1, "--max-changed-sets", 0.5)
    assert result.exit_code == 0, result.stderr
    assert set(json.loads(result.stdout)["deviation"]) == {"largest", "changed_sets", "near_ties"}
    assert "pass a precision with it" in refusal("toy.keras", "--max-changed-sets", 0.5)
