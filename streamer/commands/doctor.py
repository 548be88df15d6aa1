"""`veil doctor`: say what this machine has and whether Veil works on it."""

from __future__ import annotations

import argparse

import msgspec
from rich.console import Console

from streamer.doctor import Finding, examine
from streamer.errors import ExitCode

_MARKS = {"ok": "ok     ", "missing": "missing", "broken": "BROKEN "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the same as JSON, for programs")
    parser.epilog = "Exit code 0 when everything that Veil needs works, else 1. What is missing is not needed."


def run(arguments: argparse.Namespace) -> ExitCode:
    findings = examine()
    is_working = all(finding.verdict != "broken" for finding in findings)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode({"is_working": is_working, "findings": findings})).decode())
    else:
        _show(findings, is_working)
    return ExitCode.DONE if is_working else ExitCode.INTERNAL


def _show(findings: list[Finding], is_working: bool) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            console.print(f"\n{topic}", style="bold")
        console.print(f"  {_MARKS[finding.verdict]}  {finding.name:<14} {finding.fact}")
    console.print(
        "\nVeil works on this machine." if is_working else "\nVeil does NOT work on this machine: see what is BROKEN above."
    )
