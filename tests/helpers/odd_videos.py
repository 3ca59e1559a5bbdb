"""Small clips of unusual kinds, and the usual damage done to a file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Optional

import av
import numpy as np
from av.stream import Disposition

SIZE_HW = (48, 64)
CORNER = (230, 40, 40)  # a red block marks the top left corner, so that turned and mirrored pictures can be recognised


def pictures(count: int = 6, height: int = SIZE_HW[0], width: int = SIZE_HW[1]) -> list[np.ndarray]:
    """(H,W,3) uint8 gradients with a red corner; each a little brighter than the one before."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    made = []
    for index in range(count):
        grey = 60 + 60 * across / width + 40 * down / height + 4 * index
        picture = np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)
        picture[: height // 4, : width // 4] = CORNER
        made.append(picture)
    return made


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 10,
    times: Optional[Sequence[int]] = None,
    options: Optional[dict[str, str]] = None,
    tags: Optional[dict[str, int]] = None,
    source_format: str = "rgb24",
) -> Path:
    """Encode pictures, by hand: the product's writer has one codec, one pixel format and no colour tags.

    Args:
        times: presentation times in milliseconds; None: regular.
        tags: attributes of the codec context, such as `color_trc`.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format=source_format)
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def copied(
    source: Path, path: Path, options: Optional[dict[str, str]] = None, earlier_s: float = 0.0, title: str = ""
) -> Path:
    """The same coded pictures in another container.

    Args:
        options: of the muxer, such as `movflags`.
        earlier_s: how much earlier all are shown; what would be before 0 is not, as after a lossless trim.
    """
    with av.open(str(source)) as old, av.open(str(path), "w", container_options=options or {}) as new:
        if title:
            new.metadata["title"] = title
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                shift = round(earlier_s / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                new.mux(packet)
    return path


def two_streams(path: Path, parts: Sequence[tuple[Sequence[np.ndarray], str, bool]], rate: int = 10) -> Path:
    """Several video streams in one file.

    Args:
        parts: (pictures, codec, whether it is the default) of each.
    """
    with av.open(str(path), "w") as container:
        streams = []
        for frames, codec, default in parts:
            stream = container.add_stream(codec, rate=rate)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = Disposition.default.value if default else 0
            streams.append(stream)
        for stream, (frames, _, _) in zip(streams, parts):
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            container.mux(stream.encode())
    return path


def noise(count: int, height: int = SIZE_HW[0], width: int = SIZE_HW[1]) -> list[np.ndarray]:
    """(H,W,3) uint8 pictures of noise, no two alike, which no encoder makes small."""
    return list(np.random.default_rng(3).integers(0, 255, (count, height, width, 3), np.uint8))


def emptied(source: Path, path: Path, start: float, end: float) -> Path:
    """A copy with zeros between two shares of its length."""
    data = bytearray(source.read_bytes())
    a, b = int(start * len(data)), int(end * len(data))
    data[a:b] = bytes(b - a)
    path.write_bytes(bytes(data))
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        for _ in range(8):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write [a b; c d] into the display matrix of an MP4's track header."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


def spherical(path: Path) -> Path:
    """Write into an MP4's track that it is a 360° video, as Google's Spherical Video RFC (version 1) has it."""
    values = {
        "Spherical": "true",
        "Stitched": "true",
        "StitchingSoftware": "drawn",
        "ProjectionType": "equirectangular",
    }
    inside = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in values.items())
    xml = f'<?xml version="1.0"?><rdf:SphericalVideo>{inside}</rdf:SphericalVideo>'.encode()
    box = struct.pack(">I", 24 + len(xml)) + b"uuid" + bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + xml
    data = bytearray(path.read_bytes())
    track = data.index(b"trak") - 4
    end = track + int.from_bytes(data[track : track + 4], "big")
    for start in (track, data.index(b"moov") - 4):  # behind the pictures, whose places stay
        size = int.from_bytes(data[start : start + 4], "big") + len(box)
        data[start : start + 4] = struct.pack(">I", size)
    data[end:end] = box
    path.write_bytes(bytes(data))
    return path


def no_rate(path: Path) -> Path:
    """Set scale and rate in an AVI's stream header, and its microseconds a frame, to 0."""
    data = bytearray(path.read_bytes())
    stream = data.index(b"vids")
    data[stream + 20 : stream + 28] = bytes(8)
    main = data.index(b"avih") + 8
    data[main : main + 4] = bytes(4)
    path.write_bytes(bytes(data))
    return path


def claim_size(path: Path, width: int, height: int) -> Path:
    """A Y4M header that claims a picture of that size, and hardly any data."""
    path.write_bytes(f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\nFRAME\n".encode() + bytes(1000))
    return path


def claim_png(path: Path, width: int, height: int) -> Path:
    """A PNG of 64 bits a pixel whose header claims that size, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b""))
    return path


def streams(path: Path, count: int) -> Path:
    """One picture in each of `count` video streams."""
    with av.open(str(path), "w") as container:
        made = [container.add_stream("mpeg4", rate=10) for _ in range(count)]
        for stream in made:
            stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
        for stream in made:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24")))
            container.mux(stream.encode())
    return path


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Random damage: bytes overwritten, a piece removed, doubled or zeroed, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind, at = int(rng.integers(5)), int(rng.integers(len(damaged)))
        length = int(rng.integers(1, max(2, len(damaged) // 8)))
        if kind == 0:
            for place in rng.integers(0, len(damaged), int(rng.integers(1, 40))):
                damaged[int(place)] = int(rng.integers(256))
        elif kind == 1:
            del damaged[at : at + length]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 3:
            damaged[at : at + length] = bytes(len(damaged[at : at + length]))
        else:
            del damaged[max(at, 1) :]
        if not damaged:
            return b"\0"
    return bytes(damaged)
