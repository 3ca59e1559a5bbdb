"""Score tables and batches of face crops of made-up people, and the answers of a detector that is right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from runtime.evaluation import tables

METHODS = ("Deepfakes", "FaceSwap")

SIDE = 64


def ffpp(frames=3, seed=0):
    """Two originals (one swap pair), each faked by two methods under the same file name, and an actor without fakes."""
    rng = np.random.default_rng(seed)
    rows = []
    for original, other in (("183", "253"), ("253", "183"), ("actor", None)):
        videos = [("real", original, 0)]
        videos += [(method, f"{original}_{other}", 1) for method in METHODS if other]
        for method, video, label in videos:
            for index in range(frames):
                rows.append(
                    {
                        "dataset": "ffpp",
                        "method": method,
                        "compression": "c40",
                        "video": video,
                        "original": original,
                        "identity": f"{original}+{other}" if other else original,
                        "frame_index": index,
                        "track": "0",
                        "label": label,
                        "score": float(np.clip(0.4 + 0.2 * label + 0.1 * rng.normal(), 0, 1)),
                        "face_px": 90 + 100 * (original == "183"),
                    }
                )
    return pd.DataFrame(rows)


def many(people=8, frames=2, seed=0, gain=1.0):
    """`people` swap pairs: reals and fakes of two methods, fakes higher by `gain` of the noise."""
    rng = np.random.default_rng(seed)
    parts = []
    for person in range(people):
        part = ffpp(frames).query("video != 'actor'")
        for column in ("video", "original", "identity"):
            part[column] = [
                f"{person}-{text.replace('_', f'_{person}-').replace('+', f'+{person}-')}" for text in part[column]
            ]
        noise = rng.normal(size=len(part)) + 1.5 * rng.normal()
        part["score"] = 1 / (1 + np.exp(-(noise + gain * part["label"])))
        parts.append(part)
    return tables.normalise(pd.concat(parts))


def batch_of(person, frame, mask):
    """One face group: an original and two fakes, the original first."""
    names = [("real", f"{person}"), ("Deepfakes", f"{person}_x"), ("FaceSwap", f"{person}_x")]
    size = len(names)
    return {
        "clip": np.array([f"ffpp/{method}/c40/{video}".encode() for method, video in names]),
        "key": np.array([f"g{person}-{frame}".encode()] * size),
        "dataset": np.array([b"ffpp"] * size),
        "method": np.array([method.encode() for method, _ in names]),
        "identity": np.array([f"id{person}".encode()] * size),
        "track": np.zeros(size, np.int64),
        "original": np.array([f"ffpp/real/c40/{person}".encode()] * size),
        "face_px": np.full(size, 100.0, np.float32),
        "frame_index": np.array([frame, frame, frame + 1]),  # the FaceSwap clip lost a frame
        "label": np.array([0, 1, 1]),
        "mask": np.stack([np.zeros((SIDE, SIDE, 1), np.float32)] + [mask[..., None]] * 2),
    }


def right(batch):
    return 0.1 + 0.8 * batch["label"], 0.05 + 0.9 * batch["mask"]
