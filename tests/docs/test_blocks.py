"""Each block of the pages is run, or listed with a reason; what is listed is checked as far as it can be."""

import json
import re
import shlex

import click
import pytest
import yaml

pytest.importorskip("tensorflow_serving", reason="parses the server's configuration")

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from client.cli.commands import commands as serving_client
from exporter.cli import main as export_model
from exporter.deploy import write_server_files
from server.cli import main as serve_model

from .blocks import BLOCKS, PAGES, without_fences
from .not_run import NOT_RUN

PROGRAMS = {"export-model": export_model, "serve-model": serve_model, "serving-client": serving_client}
# Options of tensorflow_model_server that the stand-in lacks, and of other tools.
OTHERS = {"--xla_gpu_compilation_enabled", "--target", "--n-to-zero"}
READ = {
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "proto": lambda text: text_format.Parse(text, model_server_config_pb2.ModelServerConfig()),
    "yaml": yaml.safe_load,
}


def parse(arguments):
    """Parse a command line without running it, as far as the names of commands and options and their values."""
    command = PROGRAMS[arguments[0]]
    context = click.Context(command, info_name=arguments[0])
    _, rest, _ = command.make_parser(context).parse_args(list(arguments[1:]))
    if isinstance(command, click.Group):
        name, *rest = rest
        command = command.get_command(context, name)
        assert command is not None, f"serving-client has no command {name}"
        click.Context(command, parent=context)
        command.make_parser(click.Context(command, parent=context)).parse_args(rest)


def lines_of(block):
    """Yield the commands of ours in a block, as lists of arguments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s[|&;>]+\s|\s&$", line):
            words = shlex.split(part, comments=True)
            if words and words[0] in PROGRAMS:
                yield words


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_its_language(page):
    indented = re.findall(r"\n\n {4}[^\s*-].*", without_fences(page))
    # Options of mkdocs-click begin with a colon, and paragraphs of a numbered list are indented less.
    assert [line for line in indented if not line.strip().startswith(":")] == []
    assert {block.language for block in BLOCKS if block.page == page} <= {"sh", "python", "text", *READ}


def test_a_text_is_no_command():
    # What people would paste has to be run.
    texts = [block for block in BLOCKS if block.language == "text" and "COMMAND" not in block.text]
    command = re.compile(r"^(\$|pip|export-model|serve-model|serving-client) ", re.MULTILINE)
    assert [str(block) for block in texts if command.search(block.text)] == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in READ], ids=str)
def test_what_is_data_can_be_read(block):
    READ[block.language](block.text)


def test_what_is_not_run_is_there_and_has_a_reason():
    shown = {(block.page, block.first_line) for block in BLOCKS}
    assert set(NOT_RUN) - shown == set(), "no longer on the page: delete it from tests/docs/not_run.py"
    assert all(NOT_RUN.values())


@pytest.mark.parametrize("block", [block for block in BLOCKS if (block.page, block.first_line) in NOT_RUN], ids=str)
def test_the_options_of_what_is_not_run_exist(block):
    for words in lines_of(block):
        parse(words)


def options(command):
    """Yield the options of a command and of its subcommands."""
    for parameter in command.params:
        yield from parameter.opts
    for subcommand in getattr(command, "commands", {}).values():
        yield from options(subcommand)


def test_the_options_that_the_text_names_exist():
    ours = {option for command in PROGRAMS.values() for option in options(command)} | {"--help"}
    named = {
        (page, option)
        for page in PAGES
        for code in re.findall(r"`([^`\n]+)`", without_fences(page))
        if not code.startswith("python ")
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert {option for _, option in named} >= OTHERS
    assert sorted((page, option) for page, option in named if option not in ours | OTHERS) == []


@pytest.mark.parametrize(
    "line", ["export-model digits --size 3", "serving-client predict --kk 3", "serving-client ask"]
)
def test_an_option_that_is_not_there_is_found(line):
    with pytest.raises((click.UsageError, AssertionError)):
        parse(line.split())


def test_the_files_that_engines_and_clusters_read_are_written(tmp_path, digits_output):
    output = tmp_path / "models"
    output.mkdir()
    (output / "digits").symlink_to(digits_output / "digits")
    write_server_files(output, "digits", 1)
    named = {path for block in BLOCKS for path in re.findall(r"models/(deploy/[\w./-]+)", block.text)}
    assert len(named) > 3
    assert {path for path in named if not (output / path).exists()} == set()
