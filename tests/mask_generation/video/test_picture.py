"""Pictures as a player shows them: FFmpeg's own colours, square pixels, HDR as SDR, every size."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.filter import Graph

from mask_generation.video import picture, writer
from mask_generation.video.reader import VideoReader, read_frames
from mask_generation.video.types import Limits
from tests.helpers import drawn_videos, odd_videos

BT709, BT601, SMPTE240, BT2020 = 1, 5, 7, 9
LIMITED, FULL = 1, 2


def colourful(height=48, width=64):
    """(H,W,3) uint8 with strong, soft-edged colours."""
    small = np.random.default_rng(5).integers(0, 256, (6, 8, 3)).astype(np.float32)
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def as_ffmpeg(path, scale=""):
    """First picture of a file through FFmpeg's filters, as its command line converts to rgb24."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = next(container.decode(stream))
        graph = Graph()
        source = graph.add_buffer(template=stream)
        graph.link_nodes(
            source, graph.add("scale", scale), graph.add("format", "rgb24"), graph.add("buffersink")
        ).configure()
        graph.vpush(decoded)
        return graph.vpull().to_ndarray()


CODED = {
    "H.264, nothing named": ("a.mp4", "libx264", "yuv420p", {}),
    "H.264, BT.601": ("a.mp4", "libx264", "yuv420p", {"colorspace": BT601, "color_range": LIMITED}),
    "H.264, BT.709": ("a.mp4", "libx264", "yuv420p", {"colorspace": BT709, "color_range": LIMITED}),
    "H.264, BT.709, 4:4:4": ("a.mkv", "libx264", "yuv444p", {"colorspace": BT709, "color_range": LIMITED}),
    "H.264, full range": ("a.mp4", "libx264", "yuv420p", {"color_range": FULL}),
    "H.264, full range, 10 bit": ("a.mp4", "libx264", "yuv420p10le", {"color_range": FULL}),
    "H.264, BT.709, 10 bit": ("a.mp4", "libx264", "yuv420p10le", {"colorspace": BT709}),
    "H.265, BT.2020, 10 bit": ("a.ts", "libx265", "yuv420p10le", {"colorspace": BT2020}),
    "VP9, full range": ("a.webm", "libvpx-vp9", "yuv420p", {"color_range": FULL}),
    "VP9, full range, BT.709": ("a.webm", "libvpx-vp9", "yuv420p", {"colorspace": BT709, "color_range": FULL}),
    "AV1, full range": ("a.mp4", "libsvtav1", "yuv420p", {"color_range": FULL}),
    "AV1, full range, BT.709": ("a.mkv", "libsvtav1", "yuv420p", {"colorspace": BT709, "color_range": FULL}),
    "MPEG-2, SMPTE 240M": ("a.mpg", "mpeg2video", "yuv420p", {"colorspace": SMPTE240}),
    "JPEG": ("a.mov", "mjpeg", "yuvj420p", {}),
    "JPEG 4:2:2": ("a.avi", "mjpeg", "yuvj422p", {}),
    "RGB": ("a.mkv", "ffv1", "bgr0", {}),
    "grey": ("a.mkv", "ffv1", "gray", {}),
    "grey, 10 bit": ("a.mkv", "ffv1", "gray10le", {}),
}


@pytest.mark.parametrize("kind", CODED)
def test_colours_are_those_of_ffmpeg(tmp_path, kind):
    name, codec, pixel_format, tags = CODED[kind]
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"preset": "10"} if "av1" in codec else {}
    path = odd_videos.write(
        tmp_path / name, [colourful()] * 2, codec, pixel_format, rate=25, tags=tags, options=options
    )
    shown = next(read_frames(path)).rgb
    assert np.abs(shown.astype(int) - as_ffmpeg(path)).max() <= 1


@pytest.mark.parametrize("size", [(45, 63), (46, 62), (47, 64)])
def test_odd_sizes_have_the_colours_of_ffmpeg(tmp_path, size):
    path = odd_videos.write(tmp_path / "a.mkv", [colourful(*size)], "ffv1", "yuv420p", tags={"colorspace": BT709})
    assert np.abs(next(read_frames(path)).rgb.astype(int) - as_ffmpeg(path)).max() <= 1


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "gray", "bgr0"])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_grey_is_luma_in_limited_range_whatever_the_file_has(tmp_path, pixel_format, color_range):
    path = odd_videos.write(
        tmp_path / "a.mkv", odd_videos.pictures(1), "ffv1", pixel_format, tags={"color_range": color_range}
    )
    with VideoReader(path) as reader:
        (grey,) = (grey.copy() for grey in reader.greys())
    luma = 16 + next(read_frames(path)).rgb @ np.array([0.257, 0.504, 0.098])
    assert np.abs(grey - luma).max() < 3
    assert abs((grey - luma).mean()) < 1.5


def squeezed(path, aspect, width=48, container_only=False, matrix=None):
    """A picture of 64 px coded with `width` and that pixel aspect ratio; the same picture, and where it is coded."""
    full = odd_videos.pictures(3, 48, round(width * aspect))
    narrow = [cv2.resize(frame, (width, 48), interpolation=cv2.INTER_AREA) for frame in full]
    odd_videos.write(path, narrow, tags={"sample_aspect_ratio": aspect})
    if matrix:
        odd_videos.turn(path, matrix)
    return full


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(2), Fraction(32, 27), Fraction(8, 9), Fraction(1, 2)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_pixels_that_are_not_square_are_shown_as_a_player_does(tmp_path, aspect, suffix):
    path = tmp_path / f"a.{suffix}"
    full = squeezed(path, aspect)
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == full[0].shape[1::-1]
        frames = list(reader.frames())
    assert {frame.rgb.shape for frame in frames} == {full[0].shape}
    assert np.abs(frames[0].rgb.astype(int) - full[0]).mean() < 6
    width, height = full[0].shape[1::-1]
    assert np.abs(frames[0].rgb.astype(int) - as_ffmpeg(path, f"{width}:{height}")).max() <= 1
    with VideoReader(path) as reader:
        assert {grey.shape for grey in reader.greys()} == {full[0].shape[:2]}


def test_a_turned_picture_is_stretched_before_it_is_turned(tmp_path):
    squeezed(tmp_path / "a.mp4", Fraction(4, 3), matrix=(0, 1, -1, 0))
    assert next(read_frames(tmp_path / "a.mp4")).rgb.shape == (64, 48, 3)


@pytest.mark.parametrize(("aspect", "noted"), [(Fraction(1), False), (Fraction(200, 199), False), (Fraction(20), True)])
def test_nearly_square_and_absurd_pixels_are_square(tmp_path, aspect, noted):
    path = odd_videos.write(tmp_path / "a.mp4", odd_videos.pictures(1), tags={"sample_aspect_ratio": aspect})
    with VideoReader(path) as reader:
        assert [frame.rgb.shape for frame in reader.frames()] == [(48, 64, 3)]
        assert bool(reader.stats.notes) == noted
        assert not reader.stats.partial


def pq(nits):
    """SMPTE ST 2084, as its text has it."""
    power = (np.asarray(nits, float) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def test_sdr_material_in_pq_looks_as_before_up_to_the_knee_and_never_leaves_the_range():
    levels = np.arange(0, 176)  # of 255; above, highlights need room
    nits = 203 * (levels / 255) ** 2.4
    code = np.repeat((pq(nits) * 65535).round().astype(np.uint16)[None, :, None], 3, axis=2)
    assert np.abs(picture.tone_map(code, picture.PQ, wide=False)[0, :, 0].astype(int) - levels).max() <= 1
    brighter = np.repeat(np.arange(0, 65536, 64, np.uint16)[None, :, None], 3, axis=2)
    shown = picture.tone_map(brighter, picture.PQ, wide=True)[0, :, 0].astype(int)
    assert (np.diff(shown) >= 0).all()
    assert (shown[0], shown[-1]) == (0, 255)
    white, brighter, peak = (
        picture.tone_map(np.full((1, 1, 3), pq(nits) * 65535, np.uint16), picture.PQ, wide=False)[0, 0, 0]
        for nits in (203, 400, 1000)
    )
    assert 190 < white < brighter < peak == 255


def test_hlg_shows_its_reference_white_and_skin_where_pq_does():
    for signal, nits in ((0.75, 203), (0.5, 50.6)):  # BT.2408: HLG's 75 % is 203 cd/m² on a screen of 1,000
        hlg = picture.tone_map(np.full((1, 1, 3), signal * 65535, np.uint16), picture.HLG, True)[0, 0].astype(int)
        same = picture.tone_map(np.full((1, 1, 3), pq(nits) * 65535, np.uint16), picture.PQ, True)[0, 0].astype(int)
        assert np.abs(hlg - same).max() <= 2


@pytest.mark.parametrize(("transfer", "name"), [(picture.PQ, "PQ"), (picture.HLG, "HLG")])
def test_hdr_is_named_and_tone_mapped(tmp_path, transfer, name):
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": BT2020}
    grey = [np.full((48, 64, 3), 148, np.uint8)] * 2  # .58 of the signal: 203 cd/m² in PQ
    path = odd_videos.write(tmp_path / "a.mp4", grey, pixel_format="yuv420p10le", tags=tags)
    with VideoReader(path) as reader:
        shown = next(reader.frames()).rgb
        assert reader.stats.notes == [f"HDR ({name}), shown as SDR"]
    assert (190 < shown.mean() < 245) if name == "PQ" else (120 < shown.mean() < 200)
    assert shown.std() < 3


@pytest.mark.parametrize("kind", ["box", "tag", "side by side", "one above the other"])
def test_360_degrees_and_3d_are_named(tmp_path, kind):
    name, options = "a.mp4", {}
    if kind == "tag":
        name = "a.mkv"
    elif kind != "box":
        options = {"x264-params": f"frame-packing={3 if kind == 'side by side' else 4}"}
    path = odd_videos.write(tmp_path / name, odd_videos.pictures(2), options=options)
    if kind == "box":
        odd_videos.spherical(path)
    elif kind == "tag":
        tagged(path, {"SPHERICAL-VIDEO": "<GSpherical:Spherical>true</GSpherical:Spherical>"})
    with VideoReader(path) as reader:
        assert {frame.rgb.shape for frame in reader.frames()} == {(48, 64, 3)}
        (note,) = reader.stats.notes
    assert ("360°" if kind in ("box", "tag") else kind) in note


def tagged(path, tags):
    """Rewrite a file with metadata of its stream."""
    copy = path.with_name("tagged.mkv")
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.metadata.update(tags)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    copy.rename(path)


def grown(path, sizes=((48, 64), (96, 128)), count=8):
    """A transport stream whose picture changes size, as a video call's does."""
    parts = []
    for number, (height, width) in enumerate(sizes):
        part = path.with_name(f"{number}.ts")
        parts.append(odd_videos.write(part, odd_videos.pictures(count, height, width)).read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def test_a_picture_that_changes_size_is_read_to_its_end(tmp_path):
    path = grown(tmp_path / "call.ts")
    with VideoReader(path) as reader:
        shapes = [frame.rgb.shape for frame in reader.frames()]
        assert not reader.stats.partial
    assert shapes == [(48, 64, 3)] * 8 + [(96, 128, 3)] * 8
    with VideoReader(path) as reader:
        assert [grey.shape for grey in reader.greys()] == [shape[:2] for shape in shapes]


def test_a_picture_that_changes_size_fits_the_first_where_one_is_wanted(tmp_path):
    path = grown(tmp_path / "call.ts", ((48, 64), (96, 128), (24, 32)))
    drawn = odd_videos.pictures(8) * 3
    with VideoReader(path, one_size=True) as reader:
        for frame, wanted in zip(reader.frames(), drawn):
            assert frame.rgb.shape == wanted.shape
            assert np.abs(frame.rgb.astype(int) - wanted).mean() < 6
        assert frame.index == 23
    with VideoReader(path, one_size=True) as reader:
        assert {grey.shape for grey in reader.greys()} == {(48, 64)}


def test_a_picture_that_grows_over_the_limit_ends_the_reading_and_says_why(tmp_path):
    with VideoReader(grown(tmp_path / "call.ts"), Limits(max_width=100)) as reader:
        assert sum(1 for _ in reader.frames()) == 8
        assert "128x96" in reader.stats.problem
        assert "frame 8" in reader.stats.problem


def test_what_is_written_names_its_colours(tmp_path):
    drawn_videos.write(tmp_path / "a.mp4", [colourful()] * 2)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_range) == (writer.BT601, LIMITED)
    back = next(read_frames(tmp_path / "a.mp4")).rgb
    assert np.abs(back.astype(int) - colourful()).mean() < 8
