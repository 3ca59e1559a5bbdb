"""What the shipped weights mark on two people they have never seen, as a picture: docs/images/model.png.

    python -m tools.draw_shipped OUT.png

Rows: untouched, manipulated and encoded as platforms do, the true mask, the mask found on the manipulated picture.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from mask_generation.faces.detector import MtcnnDetector
from runtime.commands.demo_clips import unseen_pairs
from runtime.model import packaged
from runtime.model.saved_model import load_model

COLUMNS = 8


def main(path: str) -> None:
    model = load_model(packaged.model_folder(), trust=True)
    pairs = unseen_pairs(COLUMNS, model.input_size, MtcnnDetector())  # as they come, not chosen
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
