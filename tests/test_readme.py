"""The README is correct line by line: its commands parse, its tables are those of the code."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

import trainer.cli
from streamer.cli import EXIT_CODES, SUBCOMMANDS, build_parser
from streamer.commands.options import OPTIONS, settings_from
from streamer.filters import FILTERS
from streamer.report import SCHEMA, ReportWriter

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LIVE = (ROOT / "docs" / "live.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README + LIVE, re.DOTALL)
TRAIN_COMMANDS = [line for block in BLOCKS for line in block.splitlines() if "veil-train " in line]
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.startswith("veil ")]


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = README.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[0].splitlines()[2:]]


def test_there_are_examples() -> None:
    assert len(COMMANDS) >= 10
    assert len(TRAIN_COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)[1:]

    arguments = build_parser(words[0]).parse_args(words)

    if words[0] == "anonymize":
        settings_from(arguments)


@pytest.mark.parametrize("command", TRAIN_COMMANDS)
def test_every_training_example_parses(command: str) -> None:
    words = shlex.split(command.split("veil-train ", 1)[1])
    parser, runs = trainer.cli.build_parser(words)
    arguments = parser.parse_args(words)
    assert arguments.subcommand in runs
    for word in words:
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


def test_the_exit_codes_are_those_of_the_code() -> None:
    assert {int(code): meaning for code, meaning in table("### Exit codes")} == {
        code.value: meaning for code, meaning in EXIT_CODES.items()
    }


def test_the_filters_are_those_of_the_code() -> None:
    assert {row[0].strip("`") for row in table("### Filters")} == set(FILTERS)


def test_every_option_that_is_mentioned_exists() -> None:
    of_others = {"--config", "--check", "--no-deps", "--min-surroundings", "--frame-size", "--extra-index-url"}
    of_others |= {"--now", "--name"}
    known = {row.flag for rows in OPTIONS.values() for row in rows} | of_others
    parsed_elsewhere = set(re.findall(r"--[a-z][a-z-]+", "\n".join(TRAIN_COMMANDS)))
    evaluation, _ = trainer.cli.build_parser(["evaluate", "generator"])
    evaluation.parse_args(["evaluate", "generator", "g.onnx", "--data", "d", "--count", "2", "--recognize-count", "2"])
    parsed_elsewhere |= {"--count", "--recognize-count"}
    for row in SUBCOMMANDS:
        parser = argparse.ArgumentParser()
        importlib.import_module(row.module).add_arguments(parser)
        parsed_elsewhere |= set(re.findall(r"--[a-z][a-z-]+", parser.format_help()))

    assert set(re.findall(r"--[a-z][a-z-]+", README + LIVE)) <= known | parsed_elsewhere


def test_the_report_is_described_key_by_key() -> None:
    described = {name for row in table("## The report") for name in re.findall(r"`([a-z_.\[\]]+)`", row[0])}
    source = (ROOT / "streamer" / "report.py").read_text() + (ROOT / "streamer" / "anonymize.py").read_text()

    assert SCHEMA in README
    assert ReportWriter.__name__ in source
    for name in described - {"frames[].faces"}:
        assert f'"{name}"' in source


def test_every_file_that_is_linked_exists() -> None:
    links = {ROOT / link for link in re.findall(r"\]\(([^)#:]+)\)", README)}
    links |= {ROOT / "docs" / link for link in re.findall(r"\]\(([^)#:]+)\)", LIVE)}

    assert links
    assert [link for link in links if not link.exists()] == []


def test_the_picture_of_the_readme_is_small() -> None:
    assert (ROOT / "docs" / "contact-sheet.jpg").stat().st_size < 400_000


@pytest.mark.parametrize("name", ["demo", "test", "check"])
def test_continuous_integration_runs_the_very_commands_of_the_readme(name: str) -> None:
    assert re.search(rf"<!-- command: {name} -->\n```sh\n[^\n]+\n```", README)
    assert re.search(rf"^run_readme_command {name}\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
