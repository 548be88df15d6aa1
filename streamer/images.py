"""Photos: read upright without their metadata, written with nothing but their colours."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from models.orientation import EXIF_ORIENTATIONS, Orientation
from streamer import icc
from streamer.config import MetadataKind
from streamer.deep_images import deep_png, deep_tiff, read_deep
from streamer.errors import InputError, OutputError
from streamer.opening import check_readable

ImageFormat = Literal["JPEG", "PNG", "WEBP", "TIFF"]

SOFTWARE = "Veil"
"""What the Software entry of every written picture says; one that says so is never taken as input."""

LARGEST_PIXELS = 300_000_000
"""Pictures with more pixels are refused: a small file can unfold to more than the memory holds."""

JPEG_QUALITY = 95

_ORIENTATION_TAG = 274
_SOFTWARE_TAG = 305
_GRAY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N"})
_FORMATS: dict[str, ImageFormat] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error, zlib.error)
"""What Pillow's parsers raise over broken files."""

# Pillow's own guard is below what phones take today; `_open` has one that refuses instead of warning.
Image.MAX_IMAGE_PIXELS = LARGEST_PIXELS


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePicture:
    """One photo, upright."""

    rgb: NDArray[np.uint8] | NDArray[np.uint16]
    """(height, width, 3): R G B in the colour space of `profile`, sRGB without one; grey pictures have three equal channels."""
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
    """(height, width), of the type of `rgb`; None where the picture is opaque."""
    format: ImageFormat
    suffix: str
    """Of the file that it was read from, in lower case; it may not fit the format."""
    is_gray: bool
    is_lossless: bool
    profile: bytes | None
    """ICC profile to write."""
    subsampling: int
    """Of a JPEG's chroma, as Pillow counts: 0 = 4:4:4, 1 = 4:2:2, 2 = 4:2:0."""
    resolution: tuple[float, float] | None
    """Dots per inch across and down."""
    dropped: tuple[str, ...]
    """A sentence for each thing that is not kept."""
    notes: tuple[str, ...]
    """What was changed on the way in."""
    made_by_veil: bool


def read_image(path: Path, keep: tuple[MetadataKind, ...] = ()) -> ImagePicture:
    """Read a JPEG, PNG, WebP or TIFF.

    The colours stay what they are: an ICC profile is kept without its texts, device and date, or whole where `keep` names "icc".
    Raises InputError where the file is missing, unreadable, damaged, animated, has several pages or pixels that cannot be kept.
    """
    check_readable(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with path.open("rb") as file, _open(path, file) as image:
            try:
                return _read(path, image, whole_profile=bool({"icc", "all"} & set(keep)))
            except _DAMAGE as error:
                raise InputError(f"{path}: is truncated or damaged: {error}") from error


def is_made_by_veil(path: Path) -> bool:
    """Whether the picture carries the mark of our outputs; False where it cannot be read as one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with path.open("rb") as file, _open(path, file) as image:
                return _software(image) == SOFTWARE
    except (InputError, *_DAMAGE):
        return False


def write_image(temporary: Path, picture: ImagePicture, *, like: Path | None = None, quality: int | None = None) -> None:
    """Write the picture under a temporary name, in its own format unless its final name asks for another.

    like: the final name; its suffix decides where it differs from that of the file that was read.
    quality: of JPEG and lossy WebP, 1 to 100; None is JPEG_QUALITY.
    Raises OutputError where it cannot be written, or the format cannot hold it.
    """
    if like is not None and like.suffix.lower() != picture.suffix:
        picture = _as_format(picture, like)
    try:
        temporary.write_bytes(_encoded(picture, JPEG_QUALITY if quality is None else quality))
    except OSError as error:
        raise OutputError(f"{temporary}: cannot be written: {error.strerror or error}") from error


def _as_format(picture: ImagePicture, name: Path) -> ImagePicture:
    form = _FORMATS.get(name.suffix.lower())
    if form is None:
        raise OutputError(
            f"{name}: pictures are written as JPEG, PNG, WebP or TIFF, not as {name.suffix or 'a file without suffix'}"
        )
    if form == "JPEG" and picture.alpha is not None:
        raise OutputError(f"{name}: JPEG cannot hold the transparency of this picture; use png")
    if form in ("JPEG", "WEBP") and picture.rgb.dtype == np.uint16:
        raise OutputError(f"{name}: {form} cannot hold the 16 bits a sample of this picture; use png or tiff")
    if form == picture.format:
        return picture
    is_lossless = form in ("PNG", "TIFF") or (form == "WEBP" and picture.is_lossless)
    return replace(picture, format=form, is_lossless=is_lossless, subsampling=0)


def _open(path: Path, file: BinaryIO) -> Image.Image:
    try:
        # Not by its name: Pillow maps such files to memory, and those TIFFs that lie on their side come out sheared.
        image = Image.open(file)
        problem = _why_refused(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: has more than {LARGEST_PIXELS // 1_000_000} million pixels") from error
    except _DAMAGE as error:
        raise InputError(f"{path}: is damaged or is not a picture: {error}") from error
    if problem:
        image.close()
        raise InputError(f"{path}: {problem}")
    return image


def _why_refused(image: Image.Image) -> str:
    if image.width * image.height > LARGEST_PIXELS:
        return f"has more than {LARGEST_PIXELS // 1_000_000} million pixels"
    if image.format not in ("JPEG", "MPO", "PNG", "WEBP", "TIFF"):
        return f"is {image.format or 'of an unknown format'}: only JPEG, PNG, WebP and TIFF pictures are supported"
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format == "TIFF":
        return f"has {count} pages: save each as a file of its own"
    if count > 1 and image.format != "MPO":
        return f"is animated ({count} pictures): convert it to a video first"
    if image.mode in ("I", "F", "LAB", "HSV"):
        return f"has {image.mode} pixels (32 bits, or no RGB), which cannot be kept: convert it to RGB first"
    return ""


def _read(path: Path, image: Image.Image, *, whole_profile: bool) -> ImagePicture:
    form: ImageFormat = "JPEG" if image.format == "MPO" else cast(ImageFormat, image.format)
    orientation = EXIF_ORIENTATIONS.get(image.getexif().get(_ORIENTATION_TAG, 1), Orientation())
    dropped, notes = _dropped(image), []
    if not orientation.is_upright:
        notes.append(f"The picture was {orientation.name}.")
    profile = image.info.get("icc_profile") or None
    made_by_veil = _software(image) == SOFTWARE
    is_lossless = form in ("PNG", "TIFF") or (form == "WEBP" and _is_lossless_webp(path))
    subsampling = max(JpegImagePlugin.get_sampling(image), 0) if form == "JPEG" else 0
    if orientation.transposes and subsampling == 1:
        subsampling = 0
    resolution = image.info.get("dpi")
    is_gray = image.mode in _GRAY_MODES
    is_deep = form in ("PNG", "TIFF") and image.mode != "CMYK" and _is_deep(path, image)
    if not is_deep:
        # Goes by the tag that is left after loading: Pillow sets TIFFs upright as it loads them.
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "CMYK":
        image, said = _cmyk_to_rgb(image, profile)
        notes.append(said)
        profile = None
    pixels: NDArray[Any] = _upright(read_deep(path), orientation) if is_deep else _pixels(image)
    rgb = pixels[:, :, :3] if pixels.shape[2] >= 3 else np.repeat(pixels[:, :, :1], 3, axis=2)
    alpha = pixels[:, :, -1] if pixels.shape[2] in (2, 4) else None
    if profile is not None and not whole_profile:
        cleaned = icc.without_words(profile)
        dropped.append(
            "The texts, device and date of the ICC profile are dropped." if cleaned else "A broken ICC profile is dropped."
        )
        profile = cleaned
    return ImagePicture(
        rgb=np.ascontiguousarray(rgb),
        alpha=None if alpha is None else np.ascontiguousarray(alpha),
        format=form,
        suffix=path.suffix.lower(),
        is_gray=is_gray,
        is_lossless=is_lossless,
        profile=profile,
        subsampling=subsampling,
        resolution=(float(resolution[0]), float(resolution[1])) if resolution and all(resolution) else None,
        dropped=tuple(dropped),
        notes=tuple(notes),
        made_by_veil=made_by_veil,
    )


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(height, width, channels): 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
    mode = image.mode
    has_transparency = "transparency" in image.info
    if mode in ("1", "L") and not has_transparency:
        return np.asarray(image.convert("L"))[:, :, None]
    if mode in ("LA", "La"):
        return np.asarray(image.convert("LA"))
    if mode in ("RGBA", "RGBa", "PA") or has_transparency:
        return np.asarray(image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _is_deep(path: Path, image: Image.Image) -> bool:
    """Whether the file has 16 bits a sample, which Pillow reads only for grey."""
    if image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(258, (8,))
    return max(bits) == 16


def _upright(pixels: NDArray[np.uint16], orientation: Orientation) -> NDArray[np.uint16]:
    if orientation.transposes:
        pixels = pixels.transpose(1, 0, 2)
    if orientation.flips_x:
        pixels = pixels[:, ::-1]
    if orientation.flips_y:
        pixels = pixels[::-1]
    return pixels


def _cmyk_to_rgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """By its profile where it has a usable one."""
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except ImageCms.PyCMSError:
            converted = None
        if converted is not None:
            return converted, "The picture was CMYK and was converted to sRGB by its profile."
    return image.convert("RGB"), "The picture was CMYK and was converted to RGB without a profile: its colours may differ."


def _software(image: Image.Image) -> str:
    text = getattr(image, "text", {}).get("Software") if image.format == "PNG" else None
    return str(text or image.getexif().get(_SOFTWARE_TAG, "")).strip("\0 ")


def _is_lossless_webp(path: Path) -> bool:
    with path.open("rb") as file:
        return b"VP8L" in file.read(4096)


def _dropped(image: Image.Image) -> list[str]:
    exif = image.getexif()
    found = []
    if any(tag not in (_ORIENTATION_TAG, _SOFTWARE_TAG) for tag in exif):
        found.append("EXIF (camera, time and the like) is dropped.")
    if exif.get_ifd(0x8825):
        found.append("The GPS position is dropped.")
    if exif.get_ifd(0x014A) or exif.get_ifd(1):
        found.append("The thumbnail is dropped.")
    if image.info.get("xmp") or image.info.get("XML:com.adobe.xmp"):
        found.append("XMP is dropped.")
    if image.info.get("photoshop"):
        found.append("IPTC and Photoshop data is dropped.")
    if image.info.get("comment"):
        found.append("The comment is dropped.")
    texts = (
        [key for key in getattr(image, "text", {}) if key not in ("Software", "XML:com.adobe.xmp")] if image.format == "PNG" else []
    )
    if texts:
        found.append(f"The texts {', '.join(sorted(texts))} are dropped.")
    if image.format == "MPO":
        found.append("Further pictures in the same file are dropped.")
    return found


def _encoded(picture: ImagePicture, quality: int) -> bytes:
    gray = picture.is_gray and bool((picture.rgb[:, :, :1] == picture.rgb[:, :, 1:]).all())
    channels = [picture.rgb[:, :, :1] if gray else picture.rgb]
    if picture.alpha is not None:
        channels.append(picture.alpha[:, :, None])
    pixels = np.concatenate(channels, axis=2)
    # A profile for grey does not fit RGB: a coloured cover over a grey picture makes it sRGB.
    profile = None if picture.is_gray and not gray else picture.profile
    if pixels.dtype == np.uint16:
        deep = cast("NDArray[np.uint16]", pixels)
        is_png = picture.format == "PNG"
        return deep_png(deep, profile, SOFTWARE) if is_png else deep_tiff(deep, profile, picture.resolution, SOFTWARE)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, Any] = {"icc_profile": profile}
    if picture.resolution is not None and picture.format != "WEBP":
        options["dpi"] = picture.resolution
    if picture.format == "PNG":
        mark = PngImagePlugin.PngInfo()
        mark.add_text("Software", SOFTWARE)
        options["pnginfo"] = mark
    elif picture.format == "TIFF":
        options |= {"compression": "tiff_adobe_deflate", "tiffinfo": {_SOFTWARE_TAG: SOFTWARE}}
    else:
        exif = Image.Exif()
        exif[_SOFTWARE_TAG] = SOFTWARE
        options["exif"] = exif
        if picture.format == "JPEG":
            options |= {"quality": quality, "subsampling": picture.subsampling, "optimize": False}
        else:
            options |= {"lossless": picture.is_lossless, "exact": True, "quality": 75 if picture.is_lossless else quality}
    memory = io.BytesIO()
    image.save(memory, picture.format, **options)
    return memory.getvalue()
