"""How fakes differ from their originals in fine and coarse detail: do synthesised pairs look like real ones?

    python -m tools.band_energies RECORDS_OF_REAL_PAIRS:val RECORDS_OF_SYNTHESISED_PAIRS:val …

Each argument is a folder of records and a split. For every pair the log of the mean squared detail is taken inside the
mask, in a ring around it and along its edge, in three bands of luma and two of chroma (Laplacian pyramid, Burt &
Adelson 1983, of a crop of 128 px); printed are the means of fake minus original by method, and the share of pairs below
zero.
A network trained on fakes that are sharper than their originals looks for the opposite of what real ones show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import numpy as np

from mask_generation import cli
from runtime.evaluation import markdown
from unet_industrial.config import FAKE_ABOVE_UINT8
from unet_industrial.dataset import find_files
from unet_industrial.record_files import read_all
from unet_industrial.records import decode_group

SIDE_PX = 128
BANDS = (("Y0", 0, 0), ("Y1", 0, 1), ("Y2", 0, 2), ("Cr0", 1, 0), ("Cr1", 1, 1))  # name, channel, level (0: finest)
PLACES = ("inside", "ring", "edge")
LEAST_PIXELS = 100
FLOOR = 1e-2  # squared grey levels; flat areas would dominate the logarithm


def band_maps(rgb: np.ndarray) -> list[np.ndarray]:
    """Squared detail of each of BANDS, (S, S) float32 each, of an (H, W, 3) uint8 picture."""
    small = cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    channels = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    found = []
    for _, channel, level in BANDS:
        picture = channels[channel]
        for _ in range(level):
            picture = cv2.pyrDown(picture)
        detail = picture - cv2.pyrUp(cv2.pyrDown(picture), dstsize=picture.shape[::-1])
        found.append(cv2.resize(detail * detail, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))
    return found


def places(mask: np.ndarray) -> list[np.ndarray]:
    """Bool (S, S) each: inside the mask, a ring of 7 px around it, 2 px on either side of its edge."""
    inside = cv2.resize(mask, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) > FAKE_ABOVE_UINT8
    solid = inside.astype(np.uint8)
    ring = (cv2.dilate(solid, np.ones((15, 15))) > 0) & ~inside
    edge = cv2.dilate(solid, np.ones((5, 5))) != cv2.erode(solid, np.ones((5, 5)))
    return [inside, ring, edge]


def differences(folder: str, split: str) -> Iterator[tuple[str, np.ndarray]]:
    """(method, (places, bands) log energy of the fake minus that of its original) of every pair in the records."""
    for group in map(decode_group, read_all(find_files(folder, split))):
        if not group.has_original:
            continue
        before = band_maps(group.images[0].image)
        for fake in group.images[1:]:
            where = places(fake.mask)
            if where[0].sum() < LEAST_PIXELS:
                continue
            after = band_maps(fake.image)
            energies = [[[band[place].mean() for band in bands] for place in where] for bands in (before, after)]
            yield fake.method, np.diff(np.log(np.array(energies) + FLOOR), axis=0)[0]


def rows(folder: str, split: str) -> Iterator[tuple[object, ...]]:
    """Cells of the table, a row for each method."""
    found: dict[str, list[np.ndarray]] = {}
    for method, difference in differences(folder, split):
        found.setdefault(method, []).append(difference)
    for method, values in sorted(found.items()):
        stacked = np.stack(values)
        cells = [" ".join(f"{value:+.2f}" for value in stacked.mean(0)[place]) for place in range(len(PLACES))]
        lower = " ".join(f"{value:.2f}" for value in (stacked[:, 0] < 0).mean(0))
        yield f"{folder} {split}", method, len(values), *cells, lower


def main(arguments: list[str]) -> int:
    if not arguments or not all(":" in argument for argument in arguments):
        print(__doc__, file=sys.stderr)
        return cli.USAGE
    names = " ".join(name for name, _, _ in BANDS)
    headings = ("records", "method", "pairs", *(f"{place}: {names}" for place in PLACES), "inside, share below 0")
    sources = (argument.rpartition(":") for argument in arguments)
    print(markdown.table(headings, [row for folder, _, split in sources for row in rows(folder, split)]), end="")
    return cli.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
