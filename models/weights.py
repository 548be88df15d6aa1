"""The weights that ship with the package: found by name, and given out only if they are what the manifest says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

PRETRAINED = Path(__file__).parent / "pretrained"
MANIFEST = "manifest.json"
"""In the folder of the weights: file name -> SHA-256 of the file, hexadecimal."""


class WeightsError(Exception):
    """Weights are missing or damaged; the message is one line that names the file and what to do."""


def read_manifest(folder: Path = PRETRAINED) -> dict[str, str]:
    """File name -> SHA-256 of all weights in `folder`. Raises WeightsError if the list itself is missing or damaged."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        return {str(name): str(digest) for name, digest in manifest.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: the list of the weights cannot be read ({error}); install the package again") from error


def enter_in_manifest(path: Path) -> None:
    """Write the digest of a file into the list of weights beside it; other lines stay. Raises OSError or ValueError."""
    manifest_path = path.parent / MANIFEST
    manifest = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    manifest[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest_path.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def read_weights(name: str, folder: Path = PRETRAINED) -> bytes:
    """The content of a file of weights, verified, so that what runs is what was checked.

    Raises WeightsError if the file is unknown, missing, or differs from the manifest.
    """
    expected = read_manifest(folder).get(name)
    path = folder / name
    if expected is None:
        raise WeightsError(f"{path}: these weights are not in {MANIFEST}; use one of the names listed there")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the weights cannot be read ({error.strerror}); install the package again") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise WeightsError(f"{path}: the weights are damaged (SHA-256 differs from {MANIFEST}); install the package again")
    return content
