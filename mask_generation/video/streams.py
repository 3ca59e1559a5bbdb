"""Which of several video streams is the video: what a player would show, not what stands first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from mask_generation.video.packets import resumed

_PEEK = 20_000  # packets looked at for a second picture of every stream


def video_streams(container: Any) -> list[Any]:
    """Streams of pictures that are not the cover or the chapter pictures of something else."""
    return [stream for stream in container.streams.video if not _has(stream, "attached_pic", "timed_thumbnails")]


def several(streams: list[Any]) -> bool:
    """Whether there is something to choose."""
    return sum(stream.codec_context is not None for stream in streams) > 1


def stills(container: Any, streams: list[Any], tell: Callable[[], int]) -> set[int]:
    """Indices of the streams that hold one picture only, among others that hold more; moves the container on."""
    seen = {stream.index: 0 for stream in streams}
    for number, packet in enumerate(resumed(container, streams, tell)):
        if packet is not None and packet.size:
            seen[packet.stream_index] += 1
        if number > _PEEK or min(seen.values()) > 1:
            break
    return {index for index, count in seen.items() if count < 2} if max(seen.values()) > 1 else set()


def choose(streams: list[Any], still: set[int]) -> tuple[Any, Optional[str]]:
    """The stream to read: no still, then the default one, then the largest, then the first.

    Returns:
        stream, and the choice in words (None: there was none).
    """

    def rank(stream: Any) -> tuple[int, ...]:
        context = stream.codec_context
        size = context.width * context.height if context is not None else 0
        moving = stream.index not in still and not _has(stream, "still_image", "dependent")
        return (size > 0, moving, _has(stream, "default"), size, -stream.index)

    best = max(streams, key=rank)
    if not several(streams):
        return best, None
    others = ", ".join(_named(stream, still) for stream in streams if stream is not best)
    return best, f"{len(streams)} video streams: {_named(best, still)} is read, not {others}"


def _has(stream: Any, *names: str) -> bool:
    flags = [getattr(type(stream.disposition), name, None) for name in names]  # those that this PyAV knows
    return any(flag is not None and bool(stream.disposition & flag) for flag in flags)


def _named(stream: Any, still: set[int]) -> str:
    context = stream.codec_context
    size = f"{context.width}x{context.height}" if context is not None else "no decoder"
    kind = ", one picture" if stream.index in still else ", the default" if _has(stream, "default") else ""
    return f"number {stream.index} ({size}{kind})"
