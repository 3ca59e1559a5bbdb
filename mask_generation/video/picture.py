"""A decoded picture → the RGB a player shows: its matrix and range, the shape of its pixels, its turn, HDR as SDR.

Colours are FFmpeg's own conversion (libswscale, bicubic as its command line's): the matrix and range that stream or
picture name; where they name none, BT.601 and limited range, whatever the size. Some players take BT.709 for an unnamed
picture from 720 lines on; FFmpeg, with which nearly all unnamed files are made, does not, so that its copies keep their
colours.

Pixels that are not square are stretched along the width, as FFmpeg's `scale=iw*sar:ih` does. HDR (PQ and HLG, ITU-R
BT.2100) is shown as on an SDR screen, see `tone_map`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Optional

import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

# Numbers of ITU-T H.273, which are FFmpeg's (libavutil/pixfmt.h).
PQ, HLG = 16, 18  # transfer
HDR_NAMES = {PQ: "PQ", HLG: "HLG"}
BT2020_PRIMARIES = 9
BT709, BT601 = 1, 5
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # matrix → libswscale's coefficients; 10 is 9 at constant luma
_UNKNOWN_MATRICES = {8: "YCgCo", 11: "SMPTE 2085", 12: "chromaticity", 13: "chromaticity", 14: "ICtCp", 15: "IPT-C2"}
_FULL = ColorRange.JPEG

_PACKINGS = {1: "side by side", 2: "one above the other", 4: "in a checkerboard"}  # of AVStereo3DType
_SPHERE_TAG = "GSpherical:Spherical>true"  # of Google's Spherical Video RFC, version 1, where FFmpeg does not read it

SQUARE_WITHIN = Fraction(1, 100)  # FFmpeg's reader of MP4 takes less for rounding, too
PLAUSIBLE_ASPECT = Fraction(8)  # DVDs reach 2.4, anamorphic lenses 2; a header beyond this is damaged
# ITU-R BT.2408: an SDR screen's white stands in HDR at 203 cd/m²; HLG and most PQ is mastered for screens of 1,000.
WHITE_NITS, PEAK_NITS, PQ_TOP_NITS = 203.0, 1000.0, 10_000.0
SDR_GAMMA = 2.4  # ITU-R BT.1886
_GAIN_STEPS, _SDR_STEPS = 1024, 4096  # of tables, for the light of white
# Linear light of BT.2020 → BT.709 (ITU-R BT.2087).
_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)


class PictureConverter:
    """The pictures of one decoder as a player shows them.

    Args:
        codec: PyAV's codec context, before its first picture.
        aspect: shape of a pixel, width by height, as the container declares it; None: as the codec does.
        one_size: bring pictures of another size than the first to the first's, as a player's window does; otherwise
            each has its own.
        tags: the stream's metadata.

    Attributes:
        notes: what was shown otherwise than it is stored and may matter to who judges it: one line each.
    """

    def __init__(
        self,
        codec: Any,
        aspect: Optional[Fraction] = None,
        one_size: bool = False,
        tags: Optional[Mapping[str, str]] = None,
    ) -> None:
        self._codec, self._one_size = codec, one_size
        self._is_sphere = any(_SPHERE_TAG in value for value in (tags or {}).values())
        # The container's word counts more than the codec's; where they agree, the codec may change its mind later.
        self._fixed_aspect = aspect if aspect and aspect != codec.sample_aspect_ratio else None
        self._aspect_of: dict[tuple[int, int], Optional[Fraction]] = {}
        self._reformatters: dict[tuple[int, bool], VideoReformatter] = {}
        self._first_hw: Optional[tuple[int, int]] = None
        self.notes: list[str] = []

    def use(self, codec: Any) -> None:
        """Go on with the pictures of another decoder of the same stream."""
        self._codec = codec
        self._aspect_of.clear()

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) at which a coded picture of that size is shown, before it is turned."""
        if (width, height) == (self._codec.width, self._codec.height) or (width, height) not in self._aspect_of:
            # Pictures still come out of the decoder after its header has changed, and are of the old size.
            self._aspect_of[width, height] = self._codec.sample_aspect_ratio
        aspect = self._fixed_aspect or self._aspect_of[width, height]
        if not aspect or aspect <= 0 or abs(aspect - 1) < SQUARE_WITHIN:
            return width, height
        if not 1 / PLAUSIBLE_ASPECT <= aspect <= PLAUSIBLE_ASPECT:
            self._note(f"a pixel aspect of {aspect.numerator}:{aspect.denominator} in its header, taken as square")
            return width, height
        return max(1, round(width * aspect)), height

    def rgb(self, picture: Any) -> np.ndarray:
        """(H,W,3) uint8."""
        transfer = self._codec.color_trc
        if transfer in HDR_NAMES and _is_yuv(picture):
            primaries = self._codec.color_primaries
            self._note(f"HDR ({HDR_NAMES[transfer]}), shown as SDR")
            pixels = tone_map(self._converted(picture, "rgb48le"), transfer, primaries == BT2020_PRIMARIES)
        else:
            pixels = self._converted(picture, "rgb24")
        return self._placed(picture, pixels)

    def grey(self, picture: Any) -> np.ndarray:
        """(H,W) uint8: luma in limited range, 16 to 235, whatever the file's; HDR is not tone-mapped.

        Cheaper than colour; may be a view of the decoder's own plane, so use it before the next picture is decoded.
        """
        pixels = _luma_plane(picture)
        if pixels is None:
            pixels = self._converted(picture, "gray")
            if not _is_full(picture):  # see there: the other range comes back
                pixels = cv2.LUT(pixels, _LIMITED)
        else:
            if _is_full(picture):
                pixels = cv2.LUT(pixels, _LIMITED)
            size = self.size(picture.width, picture.height)
            if size != (picture.width, picture.height):
                pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        return self._placed(picture, pixels)

    def _converted(self, picture: Any, pixel_format: str) -> np.ndarray:
        matrix = picture.colorspace
        if matrix in _UNKNOWN_MATRICES and _is_yuv(picture):
            self._note(f"colours coded as {_UNKNOWN_MATRICES[matrix]}, which FFmpeg does not convert: they are wrong")
        matrix, full = _MATRICES.get(matrix, BT601), _is_full(picture)
        # PyAV tells libswscale of matrix and range only where source and target differ. So RGB, which has none, is
        # asked for in another matrix, and grey in the other range.
        target, target_full = matrix, full
        if pixel_format == "gray":
            target_full = not full
        elif matrix != BT601 or full:
            target = BT709 if matrix == BT601 else BT601
        width, height = self.size(picture.width, picture.height)
        # A reformatter keeps what it was once told, so that each setting needs its own.
        reformatter = self._reformatters.setdefault((matrix, full), VideoReformatter())
        made = reformatter.reformat(
            picture,
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=matrix,
            dst_colorspace=target,
            interpolation=Interpolation.BICUBIC,
            src_color_range=_FULL if full else ColorRange.MPEG,
            dst_color_range=_FULL if target_full else ColorRange.MPEG,
        )
        return made.to_ndarray()

    def _placed(self, picture: Any, pixels: np.ndarray) -> np.ndarray:
        side_data = {item.type.name: item for item in picture.side_data}
        if self._is_sphere or "SPHERICAL" in side_data:
            self._note("a 360° video, looked at as it is stored, flat: faces far from its middle line are distorted")
        stereo = bytes(side_data["STEREO3D"])[:4] if "STEREO3D" in side_data else b""
        packing = _PACKINGS.get(int.from_bytes(stereo, "little"))
        if packing:
            self._note(f"a 3D video, looked at as it is stored: the pictures of both eyes {packing}")
        matrix = side_data.get("DISPLAYMATRIX")
        if matrix is not None:
            pixels = oriented(pixels, bytes(matrix))
        if self._one_size:
            self._first_hw = self._first_hw or pixels.shape[:2]
            if pixels.shape[:2] != self._first_hw:
                shrinks = pixels.shape[0] > self._first_hw[0]
                how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
                pixels = cv2.resize(pixels, self._first_hw[::-1], interpolation=how)
        return pixels

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def tone_map(code: np.ndarray, transfer: int, wide: bool) -> np.ndarray:
    """HDR signal → what an SDR screen shows of it.

    First to the light of a screen of 1,000 cd/m² (BT.2100: PQ is absolute, HLG has a system gamma of 1.2), of which 203
    are SDR's white (BT.2408). The brightest of a pixel's three colours is compressed above a knee by the Hermite spline
    of BT.2390 (EETF, in PQ's own scale) and the other two with it, so that hue stays; then BT.1886's gamma.

    Args:
        code: (H,W,3) uint16 signal, R'G'B', full scale.
        transfer: `PQ` or `HLG`.
        wide: the primaries are BT.2020's; they become BT.709's, and what lies outside is cut off.
    Returns:
        (H,W,3) uint8.
    """
    light: np.ndarray = np.take(_linear(transfer), code)  # in units of SDR's white
    if transfer == HLG:
        luma = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        peak = PEAK_NITS / WHITE_NITS
        light *= (peak * np.maximum(luma, 1e-6) ** 0.2)[..., None]
    if wide:
        light = cv2.transform(light, _TO_BT709)
    light = np.maximum(light, 0)
    brightest = light.max(axis=2)
    # By tables over the root of light, in which both curves are smooth.
    light *= np.take(_gains(), (np.sqrt(brightest) * _GAIN_STEPS).astype(np.int32), mode="clip")[..., None]
    return np.take(_sdr_signal(), (np.sqrt(light) * _SDR_STEPS + 0.5).astype(np.int32), mode="clip")


@functools.lru_cache(maxsize=2)
def _linear(transfer: int) -> np.ndarray:
    """(65536,) float32: signal → light; PQ's in units of SDR's white, HLG's of the scene in [0, 1]."""
    signal = np.arange(65536) / 65535
    if transfer == PQ:
        return (_pq_light(signal) * PQ_TOP_NITS / WHITE_NITS).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _gains() -> np.ndarray:
    """Factors by which BT.2390's curve lowers light of (index / _GAIN_STEPS)², in units of SDR's white; to PQ's top."""
    levels = (np.arange(int(_GAIN_STEPS * (PQ_TOP_NITS / WHITE_NITS) ** 0.5) + 1) / _GAIN_STEPS) ** 2
    top = float(_pq_signal(np.array(PEAK_NITS / PQ_TOP_NITS)))
    signal = np.minimum(_pq_signal(levels * WHITE_NITS / PQ_TOP_NITS) / top, 1)
    white = float(_pq_signal(np.array(WHITE_NITS / PQ_TOP_NITS))) / top
    knee = 1.5 * white - 0.5
    t = np.clip((signal - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    shown = _pq_light(np.where(signal > knee, spline, signal) * top) * PQ_TOP_NITS / WHITE_NITS
    gains = np.ones_like(levels)
    np.divide(shown, levels, out=gains, where=levels > 0)
    return gains.astype(np.float32)


@functools.lru_cache(maxsize=1)
def _sdr_signal() -> np.ndarray:
    """(_SDR_STEPS + 1,) uint8: signal of an SDR screen for light of (index / _SDR_STEPS)², in units of its white."""
    return (255 * (np.arange(_SDR_STEPS + 1) / _SDR_STEPS) ** (2 / SDR_GAMMA) + 0.5).astype(np.uint8)


_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32  # SMPTE 2084


def _pq_light(signal: np.ndarray) -> np.ndarray:
    root = signal ** (1 / _M2)
    return (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_signal(light: np.ndarray) -> np.ndarray:
    power = light**_M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


_LIMITED = (16 + np.arange(256) * 219 / 255 + 0.5).astype(np.uint8)


def _luma_plane(picture: Any) -> Optional[np.ndarray]:
    """(H,W) uint8 view of the decoder's own plane, where that is luma of 8 bits."""
    if not picture.format.name.startswith(("yuv4", "yuvj4", "nv12")) or picture.format.components[0].bits != 8:
        return None
    plane = picture.planes[0]
    if plane.width != picture.width:
        return None
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : picture.width]


def _is_full(picture: Any) -> bool:
    """Whether luma has full range, 0 to 255."""
    return (picture.color_range == _FULL and _is_yuv(picture)) or picture.format.name.startswith("yuvj")


def _is_yuv(picture: Any) -> bool:
    return len(picture.format.components) >= 3 and not picture.format.is_rgb


def oriented(pixels: np.ndarray, matrix: bytes) -> np.ndarray:
    """Apply a display matrix (9 int32, 16.16 fixed point, [a b u c d v x y w]) to a picture; right angles only.

    A coded pixel (x, y) is shown at (a·x + c·y, b·x + d·y), see FFmpeg's libavutil/display.h.
    """
    a, b, _, c, d = np.frombuffer(matrix, "<i4")[:5].tolist()
    swap = abs(b) > abs(a)
    if swap:
        pixels = pixels.swapaxes(0, 1)
    across, down = (c, b) if swap else (a, d)
    pixels = pixels[:, ::-1] if across < 0 else pixels
    pixels = pixels[::-1] if down < 0 else pixels
    return np.ascontiguousarray(pixels)
