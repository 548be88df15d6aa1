"""Which file becomes which: everything about inputs and outputs that can go wrong is settled before any work starts.

files, folders, globs -> find -> probe -> name -> check -> BatchPlan
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streamer.config import AnonymizeSettings
from streamer.encoders import OutputPlan, default_suffix, plan_output
from streamer.errors import InputError, OutputError, UsageError, VeilError
from streamer.escaping import is_encodable
from streamer.images import is_made_by_veil
from streamer.marks import bears_mark
from streamer.probe import IMAGE_SUFFIXES, MEDIA_SUFFIXES, MediaInfo, probe
from streamer.report import report_path

OWN_MARK = "_anonymized"
"""Ends the names that Veil gives to files and folders; what bears it is never taken as an input."""

_LONGEST_NAME_BYTES = 255
"""Of a file or a folder, on all usual file systems."""

_OWN_REASON = f"was made by Veil (its mark, or {OWN_MARK} at the end of its name)"


@dataclass(frozen=True, kw_only=True)
class PlannedVideo:
    """A video to anonymize."""

    source: Path
    output: Path
    info: MediaInfo
    plan: OutputPlan


@dataclass(frozen=True, kw_only=True)
class PlannedImage:
    """A picture to anonymize."""

    source: Path
    output: Path


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An input that cannot be used, or was not finished."""

    source: str
    error: VeilError


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An input that is left alone, and why."""

    source: Path
    reason: str


@dataclass(kw_only=True)
class BatchPlan:
    """What will be done, what will not, and what cannot be."""

    videos: list[PlannedVideo] = field(default_factory=list)
    images: list[PlannedImage] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    """Files of folders whose suffixes say that they are no photo and no video that Veil reads."""
    failures: list[Failure] = field(default_factory=list)

    @property
    def frames_estimated(self) -> int | None:
        """Of all that will be done, a picture as one; None where any video does not say."""
        counts = [video.info.frames_estimated for video in self.videos]
        return None if None in counts else sum(count for count in counts if count is not None) + len(self.images)

    @property
    def is_single(self) -> bool:
        """One input, so that its error is the error of the command."""
        return len(self.videos) + len(self.images) + len(self.skipped) + len(self.failures) == 1


@dataclass(frozen=True, kw_only=True)
class _Found:
    source: Path
    target: Path
    """The output, but for the suffix that the container may demand."""
    is_named: bool
    """The user named this very file; False for what a folder held."""
    is_target_named: bool
    """The user named the output, so that its suffix stands."""


def plan_batch(inputs: Sequence[str], output: str | None, settings: AnonymizeSettings) -> BatchPlan:
    """Finds the inputs and gives each its output; nothing is written yet.

    output: a file for a single input file, otherwise a folder that mirrors the inputs; None writes beside them.
    Raises UsageError where the whole batch makes no sense (outputs that collide, exist, or would replace an input) and
    OutputError where a folder cannot be written. What concerns one input alone lies in `failures`.
    """
    plan = BatchPlan()
    found = list(_find(inputs, output, plan))
    targets: dict[Path, Path] = {}
    sources = {one.source.resolve() for one in found}
    is_only = len(found) + len(plan.failures) == 1
    for one in found:
        try:
            item = _name_output(one, settings)
        except VeilError as error:
            plan.failures.append(Failure(source=str(one.source), error=error))
            continue
        if item is None:
            if is_only and one.is_named:
                raise UsageError(f"{one.source}: {_OWN_REASON}, and is not anonymized again")
            plan.skipped.append(Skipped(source=one.source, reason=_OWN_REASON))
            continue
        _claim(item.source, item.output, targets, sources)
        if item.output.exists() and not settings.overwrite:
            if is_only and one.is_named:
                raise UsageError(f"{item.output} exists; --overwrite replaces it, -o writes elsewhere")
            _leave(item, plan)
        elif settings.report and not settings.overwrite and report_path(item.output).exists():
            said = f"{report_path(item.output)} exists; --overwrite replaces it, -o writes elsewhere"
            plan.failures.append(Failure(source=str(one.source), error=UsageError(said)))
        elif isinstance(item, PlannedVideo):
            plan.videos.append(item)
        else:
            plan.images.append(item)
    for folder in {video.output.parent for video in plan.videos} | {image.output.parent for image in plan.images}:
        _check_writable(folder)
    return plan


def _find(inputs: Sequence[str], output: str | None, plan: BatchPlan) -> Iterator[_Found]:
    """Every input file once, in a fixed order; what cannot be found goes to the failures of `plan`."""
    paths = list(_expand(inputs, plan))
    output_file = Path(output) if output is not None and _is_file(output, paths, inputs) else None
    folder = Path(output) if output is not None and output_file is None else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; several inputs need a folder")
    seen: set[Path] = set()
    for path in paths:
        for source, target in _walk(path, folder, is_alone=len(paths) == len(inputs) == 1, plan=plan):
            if source.resolve() not in seen:
                seen.add(source.resolve())
                yield _Found(
                    source=source, target=output_file or target, is_named=source == path, is_target_named=output_file is not None
                )


def _expand(inputs: Sequence[str], plan: BatchPlan) -> Iterator[Path]:
    """The files and folders that the arguments name; a pattern that the shell did not expand is expanded here."""
    for text in inputs:
        if os.path.lexists(text):
            yield Path(text)
        elif glob.has_magic(text):
            matches = sorted(glob.glob(text, recursive=True))
            # `**` also names the folders on the way, whose files it names one by one.
            files = [match for match in matches if os.path.isfile(match)]
            yield from map(Path, files or matches)
            if not matches:
                plan.failures.append(Failure(source=text, error=InputError(f"{text}: no file matches")))
        else:
            plan.failures.append(Failure(source=text, error=InputError(f"{text}: there is no such file")))


def _is_file(output: str, paths: Sequence[Path], inputs: Sequence[str]) -> bool:
    is_one_file = len(inputs) == 1 and list(map(str, paths)) == [str(Path(inputs[0]))] and not paths[0].is_dir()
    return is_one_file and not output.endswith(os.sep) and not Path(output).is_dir() and Path(output).suffix != ""


def _walk(path: Path, folder: Path | None, *, is_alone: bool, plan: BatchPlan) -> Iterator[tuple[Path, Path]]:
    """(source, target) of a file, or of every picture and video below a folder.

    Hidden files and folders that hold outputs are left out; other kinds of files are noted in `plan`.
    """
    if not os.path.isdir(path):
        yield path, path.with_name(f"{path.stem}{OWN_MARK}{path.suffix}") if folder is None else folder / path.name
        return
    name = path.resolve().name
    if folder is None and not name:
        raise UsageError(f"{path}: a whole file system needs a folder for the outputs, named with -o")
    root = path.resolve().with_name(name + OWN_MARK) if path.name in ("", "..") else path.with_name(name + OWN_MARK)
    if folder is not None:
        root = folder if is_alone else folder / name
    outputs = (folder or root).resolve()
    count = 0
    passed_over: list[Path] = []

    def refuse(error: OSError) -> None:
        plan.failures.append(Failure(source=str(error.filename), error=InputError(f"{error.filename}: {error.strerror}")))

    for place, folders, files in os.walk(path, onerror=refuse):
        here = Path(place)
        folders[:] = sorted(
            one for one in folders if not one.startswith(".") and not one.endswith(OWN_MARK) and (here / one).resolve() != outputs
        )
        for file in sorted(files):
            if file.startswith("."):
                continue
            if _kind(Path(file)) is None:
                passed_over.append(here / file)
                continue
            count += 1
            yield here / file, root / (here / file).relative_to(path)
    plan.passed_over += passed_over
    if not count:
        rest = f" that Veil reads (but {kinds_of(passed_over)})" if passed_over else ""
        plan.failures.append(
            Failure(source=str(path), error=InputError(f"{path}: there is no picture and no video in this folder{rest}"))
        )


def _name_output(one: _Found, settings: AnonymizeSettings) -> PlannedVideo | PlannedImage | None:
    """The output with the suffix it will have; None where the input is itself an output. Raises VeilError."""
    if one.source.stem.endswith(OWN_MARK):
        return None
    if not is_encodable(str(one.source)):
        raise InputError(f"{one.source}: its name is not UTF-8; rename it")
    try:
        item = _choose_output(one, settings)
    except OSError as error:
        raise InputError(f"{one.source}: cannot be read: {error.strerror}") from None
    if item is not None:
        _check_name(item.output)
        if settings.report:
            _check_name(report_path(item.output))
    return item


def _check_name(output: Path) -> None:
    """Raises OutputError where no file can bear this name."""
    if not is_encodable(str(output)):
        raise OutputError(f"{output}: the name is not UTF-8; choose another one with -o")
    # In a folder that does not exist yet, the system objects to nothing.
    if any(len(os.fsencode(part)) > _LONGEST_NAME_BYTES for part in output.parts):
        raise OutputError(f"{output}: the name is too long; choose another one with -o")
    try:
        os.lstat(output)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror}") from None


def _choose_output(one: _Found, settings: AnonymizeSettings) -> PlannedVideo | PlannedImage | None:
    """As `_name_output`, whatever the names. Raises VeilError or OSError."""
    if _kind(one.source) == "image":
        if one.is_target_named and _kind(one.target) != "image":
            known = ", ".join(sorted(IMAGE_SUFFIXES))
            raise UsageError(f"{one.target}: a picture cannot be written as {one.target.suffix}, only as {known}")
        return None if is_made_by_veil(one.source) else PlannedImage(source=one.source, output=one.target)
    info = probe(one.source)
    if info.made_by_veil:
        return None
    target = one.target if one.is_target_named else one.target.with_suffix(default_suffix(info, settings.video))
    plan = plan_output(info, settings.video, settings.keep_metadata, target)
    if one.is_target_named and Path(plan.path) != one.target:
        raise UsageError(f"{one.target}: videos are written as .mp4, .mov, .mkv or .webm, not as {one.target.suffix}")
    return PlannedVideo(source=one.source, output=Path(plan.path), info=info, plan=plan)


def kinds_of(paths: Sequence[Path]) -> str:
    """How many files there are of each suffix, the most frequent first: `2 .heic, 1 .txt, 1 without suffix`."""
    counts = Counter(path.suffix.lower() or "without suffix" for path in paths)
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _kind(path: Path) -> str | None:
    """image, video, or None where the suffix says neither."""
    return MEDIA_SUFFIXES.get(path.suffix.lower())


def _claim(source: Path, output: Path, targets: dict[Path, Path], sources: set[Path]) -> None:
    """Raises UsageError where the output is an input, or is already another input's output."""
    place = output.resolve()
    if place in sources:
        raise UsageError(f"{source}: its output {output} would replace an input; choose another place with -o")
    if place in targets:
        raise UsageError(f"{targets[place]} and {source} would both be written to {output}; anonymize them into different folders")
    targets[place] = source


def _leave(item: PlannedVideo | PlannedImage, plan: BatchPlan) -> None:
    """An output that exists: done before where Veil made it, otherwise a failure, as it may show anything."""
    if bears_mark(item.output):
        plan.skipped.append(Skipped(source=item.source, reason=f"its output exists: {item.output}"))
    else:
        said = f"{item.output} exists and was not made by Veil; --overwrite replaces it, or choose another folder with -o"
        plan.failures.append(Failure(source=str(item.source), error=UsageError(said)))


def _check_writable(folder: Path) -> None:
    """Raises OutputError where files cannot be made in this folder, or the folder itself cannot."""
    nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(place))
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: the folder for the outputs cannot be written ({error.strerror})") from None
