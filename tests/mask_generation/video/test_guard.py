"""A file opens nothing else: from the moment it is open, the kernel kills a reader that asks for a file or a socket."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import odd_videos

SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 15004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
SYSTEM_CALLS = {  # open, openat, openat2, socket, connect, bind
    "x86_64": (2, 257, 437, 41, 42, 49),
    "aarch64": (56, 56, 437, 198, 203, 200),
}.get(platform.machine())

# Run in a process of its own: reads every file named, each in a fork that is sealed once the file is open.
CODE = """
import ctypes, json, os, struct, sys
from mask_generation.video import guard, reader
from mask_generation.video.types import VideoError

good, way, calls, *paths = sys.argv[1:]

def seal():
    numbers = json.loads(calls)
    code = struct.pack("HBBI", 0x20, 0, 0, 0)  # the number of the system call
    for place, number in enumerate(numbers):
        code += struct.pack("HBBI", 0x15, len(numbers) - place, 0, number)  # equal: to the last instruction
    code += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000) + struct.pack("HBBI", 0x06, 0, 0, 0x80000000)  # allow, kill
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
    assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, "seccomp"

class Sealed(guard.GuardedFile):
    def __init__(self, path):
        super().__init__(path)
        seal()

def read(path):
    if way == "unguarded":
        with open(path, "rb") as file:
            seal()
            reader.av.open(file)
        return
    with reader.VideoReader(path) as video:
        for frame in video.frames():
            pass
        list(video.timeline.times_s)

for path in json.loads(good):  # what Python, FFmpeg and iconv (MPEG-TS has texts) load on first use is loaded now
    with reader.VideoReader(path) as video:
        list(video.frames())
reader.GuardedFile = Sealed
ends = {}
for path in paths:
    child = os.fork()
    if not child:
        try:
            read(path)
        except Exception as error:
            print(os.path.basename(path), error, file=sys.stderr)
        os._exit(0)
    ends[os.path.basename(path)] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(ends))
"""

pytestmark = pytest.mark.skipif(SYSTEM_CALLS is None or sys.platform != "linux", reason="needs Linux's seccomp")


def ends_of(good: Path, paths: list[Path], way: str = "guarded") -> dict[str, int]:
    """{file: exit code of the process that read it}."""
    known = json.dumps([str(good.with_suffix(suffix)) for suffix in (".mp4", ".ts")])
    words = [sys.executable, "-c", CODE, known, way, json.dumps(SYSTEM_CALLS), *paths]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(a good clip, files that name others)."""
    folder = tmp_path_factory.mktemp("files")
    good, _ = (odd_videos.write(folder / f"good.{kind}", odd_videos.pictures(8)) for kind in ("mp4", "ts"))
    contents = {
        "sdp.mp4": SDP,
        "late_sdp.mp4": "\n" * 5000 + SDP,
        "concat.mp4": "ffconcat version 1.0\nfile good.ts\n",
        "concat_binary.mp4": "ffconcat version 1.0\nfile good.ts\n#\0\1\2\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n",
        "remote_hls.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "dash.mp4": f'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet>'
        f'<Representation id="1" mimeType="video/mp4"><BaseURL>{good}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    return good, [folder / name for name in contents]


def test_nothing_is_opened_but_the_file_itself(files):
    good, named = files
    kinds = [odd_videos.write(good.with_suffix(f".{kind}"), odd_videos.pictures(8)) for kind in ("mkv", "mov")]
    ends = ends_of(good, [good, good.with_suffix(".ts"), *kinds, *named])
    assert ends == dict.fromkeys(ends, 0)
    assert len(ends) == 4 + len(named)


def test_the_seal_holds(files):
    """Without the guard some of the same files do open others, and the reader dies of it."""
    good, named = files
    ends = ends_of(good, named, "unguarded")
    assert ends["concat.mp4"] == -signal.SIGSYS
    assert -signal.SIGSYS in (ends["sdp.mp4"], ends["late_sdp.mp4"])
