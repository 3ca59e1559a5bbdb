"""MesoNet against its paper, and the trainer: it learns a drawn manipulation, stores, reloads, reports."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from runtime.evaluation import classifier, mesonet, metrics
from tests.helpers import drawn_records

PAPER = {"meso4": 27_977, "mesoinception4": 28_615}


@pytest.mark.parametrize("architecture", sorted(PAPER))
def test_parameter_counts_are_those_of_the_paper(architecture):
    model = mesonet.build(architecture, 256)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == PAPER[architecture]


@pytest.mark.parametrize("architecture", sorted(classifier.ARCHITECTURES))
def test_one_logit_an_image_and_unknown_names_are_refused(architecture):
    assert mesonet.build(architecture, 64)(tf.zeros((3, 64, 64, 3))).shape == (3, 1)
    with pytest.raises(ValueError, match="must be one of"):
        mesonet.build("resnet", 64)
    with pytest.raises(ValueError, match="multiple of 32"):
        mesonet.build(architecture, 40)


def test_inception_branches_see_as_far_as_their_dilation():
    """A dilation of 3 reaches 3 pixels from the centre and no pixel in between, beside 1×1 and 3×3 branches."""
    inputs = tf.keras.layers.Input((15, 15, 1))
    module = tf.keras.Model(inputs, mesonet._inception(inputs, (1, 4, 4, 2)))
    rng = np.random.default_rng(0)
    module.set_weights([np.abs(rng.normal(size=w.shape)) for w in module.get_weights()])
    point = np.zeros((1, 15, 15, 1), np.float32)
    point[0, 7, 7] = 1
    seen = np.any(np.abs(np.subtract(module(point), module(np.zeros_like(point))))[0] > 0, axis=-1)
    reach = np.flatnonzero(seen.any(axis=0)) - 7
    assert set(reach) == {-3, -2, -1, 0, 1, 2, 3}
    assert seen[7 + 3, 7 + 3]
    assert not seen[7 + 3, 7 + 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    data = drawn_records.write_dataset(folder / "data", train=16, val=16, side=32)
    config = classifier.ClassifierConfig("plain", 32, steps=120, batch_size=8, augment=False)
    files = [str(path) for path in sorted(data.glob("train*"))]
    model = classifier.train(config, files, folder / "out")
    return folder, model, config, [str(path) for path in sorted(data.glob("val*"))]


def test_the_trainer_learns_a_drawn_manipulation(trained):
    _, model, config, files = trained
    detectors = classifier.evaluate(model, config, files, 8)
    assert list(detectors) == ["plain", "blur"]
    frames = detectors["plain"].frames
    assert len(frames) == 32
    assert metrics.auc(frames["label"], frames["score"]) > 0.9
    # The copies carry noise, so here the fake is the sharper one: blur must get it backwards.
    blur = detectors["blur"].frames
    assert metrics.auc(blur["label"], blur["score"]) < 0.2


def test_a_stored_classifier_answers_as_before(trained):
    folder, model, config, _ = trained
    again, config_again = classifier.load(folder / "out")
    assert config_again == config
    images = tf.random.stateless_uniform((2, 32, 32, 3), [0, 1], -1, 1)
    np.testing.assert_array_equal(again(images), model(images))


def test_what_is_no_classifier_is_refused(trained, tmp_path):
    folder = trained[0]
    with pytest.raises(classifier.ClassifierError, match="no trained classifier"):
        classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text("{")
    with pytest.raises(classifier.ClassifierError, match="not a readable"):
        classifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text((folder / "out" / "classifier.json").read_text())
    (tmp_path / classifier.WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(classifier.ClassifierError, match="not a readable"):
        classifier.load(tmp_path)


def test_same_seed_same_classifier(tmp_path):
    data = drawn_records.write_dataset(tmp_path / "data", train=4, val=4, side=32)
    files = [str(path) for path in sorted(data.glob("train*"))]
    config = classifier.ClassifierConfig("meso4", 32, steps=3, batch_size=4, seed=5)
    runs = [classifier.train(config, files, tmp_path / str(i)).get_weights() for i in range(2)]
    for first, second in zip(*runs):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_the_names_that_the_flag_offers_are_those_of_the_networks():
    assert tuple(mesonet.NETWORKS) == classifier.ARCHITECTURES
