"""Anonymizes one photo at a time, from file to file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np

from models.backends.fallback import replacements
from models.detectors import WORKING_SIDES, FaceDetector, image_render
from models.faces import Boxes, Faces
from models.tiles import FINEST, TILE_PX, TiledDetector
from models.union import unite
from streamer.config import AnonymizeSettings, DetectorSettings
from streamer.errors import ExitCode, OutputError, VeilError
from streamer.filters import needs_keypoints
from streamer.hiding import KnownFaces, Photo, PhotoHider
from streamer.images import ImagePicture, read_image, write_image
from streamer.messages import Cover, ImageDone, ImageSetup, ImageTask, Message
from streamer.preview import REASON_COLORS, shown_reasons
from streamer.transparency import ways_to_see
from streamer.workers import RingHandles
from streamer.workers.detector import detector_of, with_keypoints


class ImageWorker:
    """Reads, detects with every pass, hides and writes; an image that cannot be done is an answer, not the end of the process."""

    _settings: AnonymizeSettings
    _detector: FaceDetector
    _hider: PhotoHider

    def __init__(self, rings: RingHandles) -> None:
        pass

    def open(self, settings: DetectorSettings, backend: str) -> FaceDetector:
        """The detector to run: with tiles for large photos, unless its working size is a number."""
        whole = detector_of(settings, backend)
        if isinstance(settings.size, int):
            return whole
        part = detector_of(msgspec.structs.replace(settings, size=TILE_PX), backend)
        whole_px = WORKING_SIDES[settings.size]["thorough"]
        return TiledDetector(whole=whole, whole_px=whole_px, part=part, finest=FINEST[settings.size])

    def process(self, message: Message) -> Iterable[Message]:
        match message:
            case ImageSetup():
                self._settings = settings = message.settings
                detector, needed = self.open(settings.detector, settings.backend), needs_keypoints(settings.filter)
                self._detector = with_keypoints(detector, settings.detector, settings.backend, needs_keypoints=needed)
                self._hider = PhotoHider(settings.filter, settings.backend)
            case ImageTask():
                yield self._do(message)
            case _:
                pass

    def close(self) -> None:
        pass

    def _do(self, task: ImageTask) -> ImageDone:
        done = ImageDone(
            number=task.number, source=task.source, output=task.output, covers=[], notes=[], error=None, exit_code=ExitCode.DONE
        )
        try:
            picture = read_image(Path(task.source), self._settings.keep_metadata)
            safe, covers = self._anonymize(picture)
            write_image(Path(task.temporary), safe, like=Path(task.output))
        except OutputError as error:
            # The user knows the file by its final name.
            said = str(error).replace(task.temporary, task.output)
            return msgspec.structs.replace(done, error=said, exit_code=error.exit_code)
        except VeilError as error:
            return msgspec.structs.replace(done, error=str(error), exit_code=error.exit_code)
        notes = [*picture.dropped, *picture.notes, *(f"{replacement}." for replacement in replacements())]
        return msgspec.structs.replace(done, covers=covers, notes=notes)

    def _anonymize(self, picture: ImagePicture) -> tuple[ImagePicture, list[Cover]]:
        faces = self._find(picture)
        known = KnownFaces(
            tracks=np.arange(1, len(faces) + 1),
            best_scores=faces.scores,
            keypoints=faces.keypoints,
            keypoint_scores=faces.keypoint_scores,
        )
        photo: Photo = picture.rgb if picture.alpha is None else np.dstack((picture.rgb, picture.alpha))
        safe, fallbacks = self._hider.hide_rgb(photo, faces.boxes, known)
        rgb, alpha = (safe, None) if picture.alpha is None else (np.ascontiguousarray(safe[:, :, :3]), safe[:, :, 3])
        if self._settings.preview_detections:
            _draw(rgb, faces.boxes, shown_reasons(["detected"] * len(faces), fallbacks))
        rows = zip(faces.boxes.tolist(), faces.scores.tolist(), strict=True)
        covers = [Cover(row + 1, tuple(box), "detected", score, fallbacks.get(row)) for row, (box, score) in enumerate(rows)]
        return replace(picture, rgb=rgb, alpha=alpha), covers

    def _find(self, picture: ImagePicture) -> Faces:
        size = picture.rgb.shape[1], picture.rgb.shape[0]
        looks = [self._detector.detect(image_render(seen), size, effort="thorough") for seen in ways_to_see(picture)]
        return looks[0] if len(looks) == 1 else unite(*looks)


def _draw(photo: Photo, boxes: Boxes, reasons: Sequence[str]) -> None:
    """A rectangle for every box, in the colour of its reason."""
    white = int(np.iinfo(photo.dtype).max)
    thickness = max(1, photo.shape[0] // 360)
    for box, reason in zip(np.rint(boxes).astype(int).tolist(), reasons, strict=True):
        color = [part * white for part in REASON_COLORS[reason]]
        cv2.rectangle(photo, box[:2], box[2:], color, thickness)
