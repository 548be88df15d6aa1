"""A short moving picture of a clip before and after, one above the other: `before_after.py CLIP ANONYMIZED OUTPUT.webp`."""

import argparse
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

WIDTH = 480


def frames(path: Path, start_s: float, step: int) -> Iterator[np.ndarray]:
    """Every `step`-th picture from a time on, at the width of the result."""
    with av.open(str(path)) as container:
        shown = 0
        for frame in container.decode(video=0):
            if frame.time is None or frame.time < start_s:
                continue
            if shown % step == 0:
                height = round(frame.height * WIDTH / frame.width)
                yield cv2.resize(frame.to_ndarray(format="rgb24"), (WIDTH, height), interpolation=cv2.INTER_AREA)
            shown += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("anonymized", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rate", type=int, default=10, metavar="FPS")
    arguments = parser.parse_args()
    with av.open(str(arguments.clip)) as container:
        step = max(1, round(float(container.streams.video[0].average_rate or 25) / arguments.rate))
    pairs = zip(*(frames(path, arguments.start, step) for path in (arguments.clip, arguments.anonymized)), strict=False)
    stacked = [Image.fromarray(np.vstack(pair)) for pair in islice(pairs, round(arguments.seconds * arguments.rate))]
    stacked[0].save(
        arguments.output, save_all=True, append_images=stacked[1:], duration=1000 // arguments.rate, loop=0, quality=60, method=4
    )


if __name__ == "__main__":
    main()
