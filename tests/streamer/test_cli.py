"""The command `veil`: what it says, and that wrong arguments cost one line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from streamer.cli import EXIT_CODES, SUBCOMMANDS, build_parser, main
from streamer.commands.options import OPTIONS, settings_from
from streamer.config import AnonymizeSettings
from streamer.errors import ExitCode
from streamer.filters import FILTERS


def exit_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_CODES) == set(ExitCode)


def test_the_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--help") == ExitCode.DONE

    shown = capsys.readouterr().out
    assert all(row.name in shown for row in SUBCOMMANDS)
    assert all(f"  {code.value:<4} {meaning}" in shown for code, meaning in EXIT_CODES.items())


def test_the_help_of_anonymize_names_every_option_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("anonymize", "--help") == ExitCode.DONE

    shown = " ".join(capsys.readouterr().out.split())
    for title, rows in OPTIONS.items():
        assert f"{title}:" in shown
        assert all(f"{row.flag} " in shown and row.help in shown for row in rows)
    assert "(default: gan)" in shown
    assert f"(default: {AnonymizeSettings().detector.threshold})" in shown
    assert all(name in shown for name in FILTERS)
    assert all(f"{code.value:<4}".strip() in shown for code in ExitCode)


@pytest.mark.parametrize("command", [row.name for row in SUBCOMMANDS])
def test_every_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(command, "--help") == ExitCode.DONE
    assert f"usage: veil {command}" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--version") == ExitCode.DONE
    assert capsys.readouterr().out == f"veil {version('veilstream')}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "veil: the following arguments are required: COMMAND"),
        (["anonimize"], "veil: argument COMMAND: invalid choice: 'anonimize'"),
        (["anonymize"], "veil anonymize: the following arguments are required: INPUT"),
        (["anonymize", "a.mp4", "--fast"], "veil: unrecognized arguments: --fast"),
        (["anonymize", "a.mp4", "--threshold"], "veil anonymize: argument --threshold: expected one argument"),
        (["anonymize", "a.mp4", "--threshold", "1.7"], "veil anonymize: --threshold must be a number above 0 and below 1, is 1.7"),
        (
            ["anonymize", "a.mp4", "--threshold", "high"],
            "veil anonymize: --threshold must be a number above 0 and below 1, is high",
        ),
        (["anonymize", "a.mp4", "--codec", "divx"], "veil anonymize: --codec must be one of auto, av1,"),
        (
            ["anonymize", "a.mp4", "--container", "avi"],
            "veil anonymize: --container must be one of mkv, mov, mp4, same, webm, is avi",
        ),
        (["anonymize", "a.mp4", "--color", "red"], "veil anonymize: --color must be text that matches ^#[0-9a-fA-F]{6}$, is red"),
        (["anonymize", "a.mp4", "--keep-metadata", "gps"], "veil anonymize: --keep-metadata must be a list, each one of all,"),
        (["anonymize", "a.mp4", "--filter", "swirl"], "veil anonymize: --filter: there is no filter 'swirl', choose one of"),
        (["anonymize", "a.mp4", "--filter", "image"], "veil anonymize: --image: the filter image needs the path of a picture"),
        (["anonymize", "a.mp4", "--config", "/no/file"], "veil anonymize: /no/file: there is no such file"),
        (["demo", "--mask", "star"], "veil demo: --mask must be one of auto, box, ellipse, is star"),
    ],
)
def test_a_wrong_argument_costs_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_of(*arguments) == ExitCode.USAGE

    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize("words", [["-dash.mp4"], ["a.mp4", "-dash.mp4"]])
def test_a_file_whose_name_begins_like_an_option_is_hinted_at(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_of("anonymize", *words) == ExitCode.USAGE
    assert "./-dash.mp4" not in capsys.readouterr().err

    Path("-dash.mp4").touch()
    assert exit_of("anonymize", *words) == ExitCode.USAGE
    shown = capsys.readouterr().err
    assert shown.endswith(" (write ./-dash.mp4 for the file of this name)\n")
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "flags", "named"),
    [
        ("filter: {name: swirl}", [], "{file}: filter.name: there is no filter 'swirl', choose one of"),
        ("filter: {name: swirl}", ["--filter", "twirl"], "--filter: there is no filter 'twirl', choose one of"),
        ("filter: {name: image, image: no.png}", [], "{file}: filter.image: no.png cannot be read"),
        ("filter: {image: no.png}", ["--filter", "image"], "{file}: filter.image: no.png cannot be read"),
        ("filter: {name: gan, mask: ellipse}", [], "{file}: filter.mask: the filter gan paints into a box"),
        ("detector: {name: eyes}", [], "{file}: detector.name: there is no detector 'eyes'"),
        ("video: {preset: foo}", [], "{file}: video.preset: must be one of ultrafast, superfast,"),
        ("video: {preset: slow}", ["--codec", "av1"], "{file}: video.preset: must be one of -1, 0, 1,"),
        ("video: {}", ["--filter", "swirl"], "--filter: there is no filter 'swirl'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_by_where_it_stands(
    text: str, flags: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "clip.yaml"
    file.write_text(text)

    assert exit_of("anonymize", "a.mp4", "--config", str(file), *flags) == ExitCode.USAGE

    shown = capsys.readouterr().err
    assert shown.startswith(f"veil anonymize: {named.format(file=file)}")
    assert shown.count("\n") == 1


def test_options_become_settings() -> None:
    words = (
        "anonymize a.mp4 --detector-size full --threshold 0.5 --detector-processes 3 --look-ahead 1 --filter pixelate --cells 5 "
        "--mask box --margin 0.2 --codec hevc --quality 30 --container mkv --keep-metadata tags,icc --overwrite --report"
    )
    arguments = build_parser("anonymize").parse_args(words.split())

    settings = settings_from(arguments)

    assert (settings.detector.size, settings.detector.threshold, settings.detector.processes) == ("full", 0.5, 3)
    assert settings.tracker.look_ahead_s == 1.0
    assert (settings.filter.name, settings.filter.cells, settings.filter.mask, settings.filter.margin) == (
        "pixelate",
        5,
        "box",
        0.2,
    )
    assert (settings.video.codec, settings.video.quality, settings.video.container) == ("hevc", 30, "mkv")
    assert (settings.keep_metadata, settings.overwrite, settings.report, settings.preview_detections) == (
        ("tags", "icc"),
        True,
        True,
        False,
    )


def test_no_options_are_the_defaults() -> None:
    assert settings_from(build_parser("anonymize").parse_args(["anonymize", "a.mp4"])) == AnonymizeSettings()


def test_nothing_that_veil_runs_imports_torch() -> None:
    modules = ", ".join([*(row.module for row in SUBCOMMANDS), "streamer.workers.detector", "streamer.workers.anonymizer"])
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
