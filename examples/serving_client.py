"""Scores a video through TensorFlow Serving: faces are found here, the network runs there.

    docker run -p 8501:8501 -e MODEL_NAME=deepfake \\
        --mount type=bind,source=$PWD/model,target=/models/deepfake/1 tensorflow/serving
    python examples/serving_client.py VIDEO [http://localhost:8501/v1/models/deepfake]

`model` is the folder that `python -m runtime export` wrote, as it is.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any, Optional

import numpy as np

from mask_generation.faces.detector import FaceDetector, MtcnnDetector, crop_geometry
from mask_generation.faces.tracker import FaceTracker
from mask_generation.video.reader import count_frames, read_frames, sample_indices
from runtime.scoring.video_score import VideoScore, video_score

ADDRESS = "http://localhost:8501/v1/models/deepfake"
FRAMES, BATCH, TIMEOUT_S = 32, 8, 60


def call(url: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
    """GET, or POST of a JSON body; the JSON that comes back."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def crop_side(address: str) -> int:
    """Side of the crops that the served model takes, from its signature."""
    signatures = call(f"{address}/metadata")["metadata"]["signature_def"]["signature_def"]
    return int(signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"][1]["size"])


def predict(address: str, crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,S,S,3) uint8 crops → masks (N,S,S) and frame scores (N,), probabilities in [0, 1]."""
    masks, scores = [], []
    for start in range(0, len(crops), BATCH):
        inputs = {"images": crops[start : start + BATCH].tolist()}
        found = call(f"{address}:predict", {"signature_name": "serving_default", "inputs": inputs})["outputs"]
        masks.append(np.asarray(found["mask"], np.float32)[..., 0])
        scores.append(np.asarray(found["frame_score"], np.float32))
    return np.concatenate(masks), np.concatenate(scores)


def score(path: str, address: str = ADDRESS, detector: Optional[FaceDetector] = None) -> VideoScore:
    """The video's score from FRAMES frames.

    Raises:
        VideoError: the file gives no frames. NoFaceError: there is no face in it.
    """
    side, tracker = crop_side(address), FaceTracker(detector or MtcnnDetector())
    times, places, crops = [], [], []
    for number, frame in enumerate(read_frames(path, sample_indices(count_frames(path), FRAMES))):
        times.append(frame.time_s)
        for face in tracker.update(frame):
            places.append((face.track, number))
            crops.append(crop_geometry(face.box).crop(frame.rgb, side))
    tracks = np.full((1 + max((track for track, _ in places), default=0), len(times)), np.nan)
    if crops:
        for (track, number), value in zip(places, predict(address, np.stack(crops))[1]):
            tracks[track, number] = value
    return video_score(list(tracks), times)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    result = score(*sys.argv[1:])
    print(f"score {result.score:.3f}, {'fake' if result.is_fake else 'real'}; suspicious: {list(result.segments)}")
