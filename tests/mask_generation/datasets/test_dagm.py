"""DAGM2007's folders → records that train the original's way, with every image accounted for."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from mask_generation import __main__ as command
from mask_generation.datasets import dagm
from mask_generation.datasets.base import DatasetError, Options
from mask_generation.datasets.registry import find
from mask_generation.parallel import processes
from tests.helpers.drawn_work import inline
from unet_industrial.config import DataConfig, ModelConfig
from unet_industrial.dataset import RecordSource, find_files
from unet_industrial.record_files import read_all
from unet_industrial.records import decode_group

SIDE = 64


def draw(folder, part, number, defective):
    """A speckled surface; a defect is a bright scratch inside the labelled ellipse."""
    rng = np.random.default_rng([number, part == "Test"])
    image = rng.normal(128, 12, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    label = np.zeros((SIDE, SIDE), np.uint8)
    if defective:
        centre = tuple(int(v) for v in rng.integers(20, 44, 2))
        cv2.ellipse(label, centre, (12, 6), float(rng.integers(0, 180)), 0, 360, 255, -1)
        cv2.line(image, (centre[0] - 6, centre[1]), (centre[0] + 6, centre[1]), 250, 2)
        (folder / part / "Label").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / part / "Label" / f"{number:04d}_label.PNG"), label)
    (folder / part).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / part / f"{number:04d}.PNG"), image)
    return image, label


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes as the original lays them out; of four images a quarter is defective, and more in class 2."""
    root = tmp_path_factory.mktemp("dagm")
    for name, every in (("Class1", 4), ("Class2", 2)):
        for part in ("Train", "Test"):
            for number in range(1, 9):
                draw(root / "raw_images" / "private" / name, part, number, number % every == 0)
    return root


@pytest.mark.parametrize("below", ["", "raw_images/private", "raw_images/private/Class1"])
def test_classes_are_found_from_wherever_one_points(root, below):
    found = find(str(root / below), "auto", Options(methods=("Class1",)))
    assert len(found.groups) == 16
    assert found.clips() == 16
    defective = {group.name for group in found.groups if group.fakes}
    assert defective == {f"dagm/Class1/native/{part}/{n:04d}" for part in ("Train", "Test") for n in (4, 8)}
    assert {group.split for group in found.groups if "/Train/" in group.name} == {"train"}
    assert {group.split for group in found.groups if "/Test/" in group.name} == {"test"}
    assert any("2 of 8 images have a label, 79 in the whole set" in note for note in found.notes)


def test_a_class_that_is_not_there_is_named(root, tmp_path):
    with pytest.raises(DatasetError, match="none of Class7; there are Class1, Class2"):
        find(str(root), "dagm", Options(methods=("Class7",)))
    with pytest.raises(DatasetError, match="Class1/Train"):
        find(str(tmp_path), "dagm", Options())


def test_known_counts_are_nvidias():
    assert [sum(counts) for counts in dagm.DEFECTIVE.values()] == [1046, 1054]


@pytest.fixture(scope="module")
def records(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "run", inline)
        assert command.main(["generate", f"--data_dir={root}", f"--output={folder / 'all'}"]) == 0
    return folder / "all"


def test_pixels_and_labels_arrive_as_they_are(root, records):
    files = find_files(str(records), "train")
    assert [path.rsplit("/", 1)[1] for path in files] == ["train-00000-of-00001.tfrecord"]  # stills fit into few files
    groups = {group.key: group for group in map(decode_group, read_all(files))}
    assert len(groups) == 16
    for number in range(1, 9):
        (image,) = groups[f"dagm/Class1/native/Train/{number:04d}"].images
        folder = root / "raw_images" / "private" / "Class1" / "Train"
        np.testing.assert_array_equal(image.image[..., 0], cv2.imread(str(folder / f"{number:04d}.PNG"), 0))
        assert image.label == int(number % 4 == 0)
        assert bool(image.mask.any()) is bool(image.label)
        if image.label:
            label = cv2.imread(str(folder / "Label" / f"{number:04d}_label.PNG"), 0)
            np.testing.assert_array_equal(image.mask, label)


def test_training_draws_from_them_as_the_original_does(records):
    """On defective images only, grey, values from -1 to 1."""
    model = ModelConfig(in_channels=1, input_size=SIDE)
    data = DataConfig(drop_clean=True, reference_mode=True)
    source = RecordSource(find_files(str(records), "train"), model, data, seed=0)
    assert source.epoch_examples() == 2 + 4
    batch = next(iter(source.batches(0, 4, 0, 1)))
    assert batch["image"].shape == (4, SIDE, SIDE, 1)
    assert batch["label"].numpy().tolist() == [1] * 4
    assert float(batch["mask"].numpy().max()) == 1
    assert -1 <= float(batch["image"].numpy().min()) < 0


def test_a_bad_image_costs_its_own_row(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(processes, "run", inline)
    folder = tmp_path / "Class3"
    for number in range(1, 7):
        draw(folder, "Train", number, number > 2)
    (folder / "Train" / "0002.PNG").write_bytes(b"not a picture")
    cv2.imwrite(str(folder / "Train" / "Label" / "0004_label.PNG"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(folder / "Train" / "Label" / "0005_label.PNG"), np.zeros((SIDE, SIDE), np.uint8))
    (folder / "Train" / "0006.PNG").unlink()
    output = tmp_path / "records"
    assert command.main(["generate", f"--data_dir={tmp_path}", f"--output={output}"]) == 1
    clips = pd.read_csv(output / "clips.csv", keep_default_na=False)
    states = {name.rsplit("/", 1)[1]: state for name, state in zip(clips["name"], clips["state"])}
    assert states == {
        "0001": "ok",
        "0002": "unreadable",
        "0003": "ok",
        "0004": "unreadable",
        "0005": "no_mask",
        "0006_label": "missing",
    }
    assert "6 clips found = 2 written + 2 skipped + 2 failed" in capsys.readouterr().out
