"""How well scores rank fakes above reals: frame AUC, clip AUC, paired share. NumPy and scikit-learn only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

PAIR_TIE = 0.5  # a fake that scores exactly as its original counts as half outscoring it, as in the AUC


def auc(labels: np.ndarray, scores: np.ndarray) -> Optional[float]:
    """Area under the ROC curve, in [0,1]; None unless both labels (1 fake, 0 real) occur."""
    from sklearn.metrics import roc_auc_score

    labels = np.asarray(labels)
    if not (0 < labels.sum() < labels.size):
        return None
    return float(roc_auc_score(labels, scores))


def clip_scores(clips: Sequence[str], labels: np.ndarray, scores: np.ndarray) -> List[Tuple[str, int, float]]:
    """(clip, label, mean frame score) of each clip, in order of first appearance.

    Args:
        clips: name of the clip each frame is from; it must tell apart data set, method, compression and video.
    Raises:
        ValueError: one clip name holds both real and fake frames.
    """
    gathered: Dict[str, List[float]] = {}
    label_of: Dict[str, int] = {}
    for clip, label, score in zip(clips, labels, scores):
        if label_of.setdefault(clip, int(label)) != int(label):
            raise ValueError(f"clip {clip!r} has frames labelled real and frames labelled fake")
        gathered.setdefault(clip, []).append(float(score))
    return [(clip, label_of[clip], float(np.mean(values))) for clip, values in gathered.items()]


def paired_share(keys: Sequence[str], labels: np.ndarray, scores: np.ndarray) -> Tuple[Optional[float], int]:
    """Share of fake frames that outscore their own original, and how many pairs that rests on.

    Frames of one key are the original and its copies at the same frame and box, so source and compression differ
    little between them: what is left is the manipulation.

    Returns:
        (share in [0,1] or None without pairs, pairs)
    """
    original = {key: score for key, label, score in zip(keys, labels, scores) if label == 0}
    margins = [s - original[key] for key, label, s in zip(keys, labels, scores) if label == 1 and key in original]
    if not margins:
        return None, 0
    wins = np.sum(np.asarray(margins) > 0) + PAIR_TIE * np.sum(np.asarray(margins) == 0)
    return float(wins / len(margins)), len(margins)


def rank_frames(frames: Mapping[str, Sequence[Any]]) -> Dict[str, Any]:
    """All ranking numbers of a table of frames.

    Args:
        frames: columns "clip", "key" (strings), "label" (1 fake, 0 real), "score" (higher: more likely fake).
    """
    labels, scores = np.asarray(frames["label"], int), np.asarray(frames["score"], float)
    videos = clip_scores(frames["clip"], labels, scores)
    video_labels = np.array([label for _, label, _ in videos], int)
    video_scores = np.array([score for _, _, score in videos], float)
    paired, pairs = paired_share(frames["key"], labels, scores)
    return {
        "frames": int(labels.size),
        "fake_frames": int(labels.sum()),
        "frame_auc": auc(labels, scores),
        "clips": len(videos),
        "fake_clips": int(video_labels.sum()),
        "video_auc": auc(video_labels, video_scores),
        "paired": paired,
        "pairs": pairs,
        "mean_score_real": float(scores[labels == 0].mean()) if (labels == 0).any() else None,
        "mean_score_fake": float(scores[labels == 1].mean()) if (labels == 1).any() else None,
    }
