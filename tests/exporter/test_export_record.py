"""export.json as an export writes it: valid against the schema that ships, and read across releases."""

import json
from importlib.resources import files

import jsonschema
import pytest

from exporter.store.listing import list_versions
from signatures.contract.record import SCHEMA_VERSION, ExportRecord, RecordError, record_file

SCHEMA = json.loads((files("signatures.contract") / "export.schema.json").read_text())


@pytest.fixture
def stated(digits_version):
    """What a real export's file holds."""
    return json.loads(record_file(digits_version).read_text())


def written(version, stated):
    file = record_file(version)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stated))
    return version


def test_a_real_export_writes_what_the_schema_says(stated):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(stated, SCHEMA)
    assert stated["schema_version"] == SCHEMA_VERSION
    assert set(SCHEMA["properties"]) == set(stated)


def without(name):
    return lambda stated: stated.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        without("schema_version"),
        without("files"),
        lambda stated: stated.update(schema_version=SCHEMA_VERSION + 1),
        lambda stated: stated.update(min_score=2),
        lambda stated: stated.update(thresholds=["0.5"]),
        lambda stated: stated.update(k="2"),
        lambda stated: stated.update(k=0),
        lambda stated: stated.update(export_id="1"),
        lambda stated: stated.update(preprocessing="other"),
        lambda stated: stated.update(labels=[]),
        lambda stated: stated.update(golden_digest=None),
        lambda stated: stated.update(unheard_of=1),
        lambda stated: stated["signatures"].pop("serving_default"),
        lambda stated: stated["signatures"]["top_k"]["outputs"]["labels"].update(shape=[-2]),
        lambda stated: stated["files"].update({"saved_model.pb": "0"}),
        lambda stated: stated["samples"].pop("count"),
    ],
)
def test_a_changed_record_is_not_what_the_schema_says(stated, change):
    change(stated)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(stated, SCHEMA)


def test_what_was_exported_is_read_back(digits_version, stated, tmp_path):
    record = ExportRecord.read(digits_version)
    assert (record.model, record.k, record.labels) == ("digits", 2, tuple("01234567"))
    record.write(tmp_path)
    assert json.loads(record_file(tmp_path).read_text()) == stated


def test_a_record_of_the_first_release_is_read(tmp_path, stated):
    del stated["schema_version"]
    assert ExportRecord.read(written(tmp_path, stated)).export_id == stated["export_id"]


def test_fields_of_a_newer_release_are_ignored(tmp_path, stated):
    assert ExportRecord.read(written(tmp_path, {**stated, "unheard_of": 1})).files == stated["files"]


def test_a_newer_schema_is_refused_in_a_sentence_and_listed_as_not_ours(tmp_path, stated):
    written(tmp_path / "digits" / "1", {**stated, "schema_version": SCHEMA_VERSION + 1})

    with pytest.raises(RecordError, match=r"schema version 3, and this release reads up to 2: install a newer"):
        ExportRecord.read(tmp_path / "digits" / "1")
    (listed,) = list_versions(tmp_path)
    assert (listed.version, listed.export_id) == (1, None)


@pytest.mark.parametrize("name", ["export_id", "model", "k", "labels", "golden_digest"])
def test_a_record_that_does_not_say_who_it_is_is_refused_in_a_sentence(tmp_path, stated, name):
    with pytest.raises(RecordError, match="is not what export-model writes"):
        ExportRecord.read(written(tmp_path, {**stated, name: None}))
