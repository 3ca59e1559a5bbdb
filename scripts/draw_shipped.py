"""What the shipped weights mark on two people they have never seen, as a picture: docs/images/model.png.

    python scripts/draw_shipped.py OUT.png

Rows: untouched, manipulated and encoded as platforms do, the true mask, the mask found on the manipulated picture.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from mask_generation.faces import MtcnnDetector
from mask_generation.synthesis import Mix, make_pair, pool
from runtime import packaged
from runtime.demo_clips import portraits
from runtime.models import load_model

COLUMNS, SEED = 8, 7
MIX = Mix(video=0.9, soft=1, hardness=0.5, cover=0.1, alike=0.85)


def main(path: str) -> None:
    detector, crops = MtcnnDetector(), []
    for name, portrait in portraits().items():
        face = max(detector.detect(portrait), key=lambda found: found.box.area)
        crops.append(pool.Crop(*pool.crop_face(portrait, face.box, face.landmarks), name, name, name, 0))
    with tempfile.TemporaryDirectory() as folder:
        pool.save(f"{folder}/pool.npz", crops, 0.0, 0)
        people = pool.load(f"{folder}/pool.npz", "train", None)
    model = load_model(packaged.model_folder(), trust=True)
    pairs = [make_pair(people, SEED, index, model.input_size, 1.0, MIX) for index in range(COLUMNS)]  # not chosen
    found, _ = model.predict(np.stack([pair.fake for pair in pairs]))
    truth = [np.repeat(pair.mask[..., None], 3, 2) for pair in pairs]
    marked = [cv2.applyColorMap((255 * mask).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1] for mask in found]
    rows = [[pair.real for pair in pairs], [pair.fake for pair in pairs], truth, marked]
    sheet = np.vstack([np.hstack(row) for row in rows])
    cv2.imwrite(path, np.ascontiguousarray(sheet[..., ::-1]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
