"""The network's shapes, sizes, layouts, precisions and export; its numbers are in test_reference.py."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from unet_industrial import build_unet
from unet_industrial.config import WEIGHT_INITS, ModelConfig
from unet_industrial.losses import get_loss
from unet_industrial.srm import CLIP_LEVELS, LOCAL_GAIN, add_residuals, kernels, local_contrast
from unet_industrial.train_step import network_input
from unet_industrial.unet import get_initializer, reference_variable_names


@pytest.fixture
def policy():
    """Sets the Keras policy, and puts float32 back."""
    yield tf.keras.mixed_precision.set_global_policy
    tf.keras.mixed_precision.set_global_policy("float32")


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    "arguments, parameters",
    [
        ({"in_channels": 1}, 1_850_305),
        ({}, 1_850_881),
        ({"in_channels": 1, "variant": "original"}, 29_137_793),
        ({"variant": "original"}, 29_138_945),
        ({"in_channels": 1, "activation": "crelu"}, 3_698_657),
        ({"in_channels": 1, "activation": "prelu_shared"}, 1_850_327),
    ],
)
def test_number_of_parameters(arguments, parameters):
    assert build_unet(**arguments).count_params() == parameters


def test_other_code_finds_the_public_names_on_the_package():
    import unet_industrial

    assert unet_industrial.build_unet is build_unet
    assert unet_industrial.losses.get_loss is get_loss
    for module, name in (
        ("optimizers", "CenteredRMSProp"),
        ("metrics", "dice_at_thresholds"),
        ("reference_mode", "augment"),
    ):
        assert callable(getattr(getattr(unet_industrial, module), name))
    with pytest.raises(AttributeError, match="no attribute 'unets'"):
        _ = unet_industrial.unets


def test_variables_come_in_the_reference_order():
    names = reference_variable_names(build_unet(activation="prelu_shared"))
    assert names[:6] == [
        "UNet_v1/input_block/conv2d/kernel",
        "UNet_v1/input_block/conv2d/bias",
        "UNet_v1/input_block/act1/prelu/alpha",
        "UNet_v1/input_block/conv2d_1/kernel",
        "UNet_v1/input_block/conv2d_1/bias",
        "UNet_v1/input_block/act2/prelu/alpha",
    ]
    assert names[-2:] == ["UNet_v1/ouputs_block/conv2d_2/kernel", "UNet_v1/ouputs_block/conv2d_2/bias"]
    assert len(names) == len(set(names)) == 46 + 22


@pytest.mark.parametrize("height, width", [(16, 16), (48, 112), (272, 16)])
def test_any_multiple_of_16_keeps_its_size(height, width):
    assert build_unet()(pictures(2, height, width, 3)).shape == (2, height, width, 1)


@pytest.mark.parametrize("height, width", [(15, 16), (32, 40), (0, 16)])
def test_other_sizes_are_refused_by_name(height, width):
    with pytest.raises(ValueError, match=f"{height}x{width}.*multiples of 16"):
        build_unet()(np.zeros((1, height, width, 3), np.float32))


def test_a_size_known_only_at_run_time_is_refused_as_well():
    model = build_unet()
    forward = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    assert forward(pictures(1, 32, 48, 3)).shape == (1, 32, 48, 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of 16"):
        forward(pictures(1, 32, 40, 3))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "huge"}, "variant='huge'.*tinyUNet, original"),
        ({"activation": "swish"}, "activation='swish'.*crelu"),
        ({"weight_init": "zeros"}, "weight_init='zeros'.*orthogonal"),
        ({"data_format": "NCHW"}, "data_format='NCHW'.*channels_first"),
        ({"in_channels": 0}, "in_channels=0"),
    ],
)
def test_unknown_arguments_say_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_unet(**arguments)


def step(model: tf.keras.Model, images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = get_loss("x-entropy")(logits, masks)
    return logits.numpy(), [gradient.numpy() for gradient in tape.gradient(loss, model.trainable_variables)]


@pytest.mark.parametrize("activation", ["prelu_not_shared", "crelu", "elu"])  # the others in test_reference.py
def test_channels_first_is_the_same_function(activation):
    last = build_unet(activation=activation)
    first = build_unet(activation=activation, data_format="channels_first")
    first.set_weights(last.get_weights())
    images = pictures(2, 32, 48, 3)
    expected = last(images).numpy()
    close = {"rtol": 0, "atol": 1e-5 * max(1.0, np.abs(expected).max())}
    forwards = [tf.function(last), first, tf.function(first)]
    for forward in forwards * 2:  # in turns: oneDNN's own pooling is wrong in the layout that comes second
        np.testing.assert_allclose(forward(images), expected, **close)


def test_channels_first_has_the_same_gradients():
    last, first = build_unet(), build_unet(data_format="channels_first")
    first.set_weights(last.get_weights())
    images, masks = pictures(1, 32, 32, 3), pictures(1, 32, 32, 1) > 0
    for ours, theirs in zip(step(first, images, masks)[1], step(last, images, masks)[1]):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3 * max(np.abs(theirs).max(), 1e-5))


@pytest.mark.parametrize("method", WEIGHT_INITS)
def test_initialisers_follow_the_global_seed(method):
    draw = get_initializer(method)
    tf.keras.utils.set_random_seed(1)
    first, second = draw((3, 3, 8, 16)).numpy(), get_initializer(method)((3, 3, 8, 16)).numpy()
    tf.keras.utils.set_random_seed(1)
    again = get_initializer(method)((3, 3, 8, 16)).numpy()
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()


def test_networks_of_one_seed_are_equal_and_of_another_not():
    networks = []
    for seed in (1, 1, 2):
        tf.keras.utils.set_random_seed(seed)
        networks.append(build_unet(weight_init="he_normal").get_weights())
    assert all((a == b).all() for a, b in zip(networks[0], networks[1]))
    assert any((a != b).any() for a, b in zip(networks[0], networks[2]))


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_gives_float32_logits_and_nearly_the_same_loss(policy, name):
    images, masks = pictures(2, 64, 64, 3), (pictures(2, 64, 64, 1) > 0).astype(np.float32)
    full = build_unet()
    policy(name)
    half = build_unet()
    half.set_weights(full.get_weights())
    logits = tf.function(half)(images)
    assert logits.dtype == tf.float32
    assert all(variable.dtype == tf.float32 for variable in half.trainable_variables)
    for loss in ("x-entropy", "dice_sorensen", "adaptive_loss"):
        expected = float(get_loss(loss)(full(images), masks))
        assert float(get_loss(loss)(logits, masks)) == pytest.approx(expected, abs=1e-2)


def test_gradients_match_finite_differences():
    model = build_unet(in_channels=1, activation="elu")  # smooth, so that differences mean something
    images, masks = pictures(1, 16, 16, 1), (pictures(1, 16, 16, 1) > 0).astype(np.float32)
    gradients = step(model, images, masks)[1]
    loss = get_loss("x-entropy")
    for index in (0, 21, 44):  # first kernel, the bottleneck's bias, last kernel
        variable, gradient = model.trainable_variables[index], gradients[index]
        direction = gradient / np.linalg.norm(gradient)
        start, around = variable.numpy(), []
        for offset in (1e-2, -1e-2):
            variable.assign(start + offset * direction)
            around.append(float(loss(model(images), masks)))
        variable.assign(start)
        assert (around[0] - around[1]) / 2e-2 == pytest.approx(np.linalg.norm(gradient), rel=2e-2)


def test_saved_model_computes_the_same(tmp_path):
    model, module = build_unet(activation="prelu_not_shared"), tf.Module()
    module.weights = model.weights  # rather than the model: Keras would trace every layer, for 15 s
    module.predict = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3))])
    images = pictures(2, 32, 64, 3)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.predict(images), model(images), rtol=0, atol=1e-5)


def test_keras_archive_computes_the_same(tmp_path):
    model = build_unet(activation="crelu")
    images = pictures(1, 32, 32, 3)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images), model(images), rtol=0, atol=1e-5)


def test_xla_computes_the_same():
    model = build_unet()
    images = pictures(1, 32, 32, 3)
    compiled = tf.function(model, jit_compile=True)(images)
    np.testing.assert_allclose(compiled, model(images), rtol=0, atol=1e-4)


def test_residual_kernels_ignore_flat_areas():
    np.testing.assert_allclose(kernels().sum(axis=(0, 1)), 0, atol=1e-6)
    flat = tf.fill((1, 16, 16, 3), 0.4)
    np.testing.assert_allclose(add_residuals(flat)[..., 3:], 0, atol=1e-4)


def test_residuals_of_one_bright_pixel_are_the_kernels():
    images = np.zeros((1, 9, 9, 3), np.float32)
    images[0, 4, 4] = 1 / 127.5  # one grey level
    residuals = add_residuals(images).numpy()[0, 2:7, 2:7, 3:]
    np.testing.assert_allclose(residuals, kernels()[::-1, ::-1, 0] / CLIP_LEVELS, atol=1e-5)


def test_residuals_keep_the_colours_and_stay_within_bounds():
    images = pictures(2, 16, 16, 3)
    out = add_residuals(images).numpy()
    assert out.shape == (2, 16, 16, 6)
    np.testing.assert_array_equal(out[..., :3], images)
    assert np.abs(out).max() <= 1
    assert add_residuals(tf.cast(images, tf.float16)).dtype == tf.float16
    with pytest.raises(ValueError, match="RGB"):
        add_residuals(images[..., :1])


def test_local_contrast_does_not_see_the_light():
    images = 0.2 * pictures(2, 32, 32, 3)
    out = local_contrast(images).numpy()
    assert out.shape == images.shape
    assert np.abs(out).max() <= 1
    np.testing.assert_allclose(local_contrast(images + 0.5), out, atol=1e-5)
    np.testing.assert_allclose(local_contrast(np.full_like(images, 0.3)), 0, atol=1e-5)
    seam = np.zeros((1, 64, 64, 3), np.float32)
    seam[:, :, 32:] = 0.1  # half of the step on either side of it, nothing far away
    row = local_contrast(seam).numpy()[0, 32, :, 0]
    np.testing.assert_allclose(row[[31, 32]], LOCAL_GAIN * 0.05 * np.array([-1, 1]), atol=0.02)
    np.testing.assert_allclose(row[[8, 56]], 0, atol=1e-5)
    assert local_contrast(tf.cast(images, tf.float16)).dtype == tf.float16


def test_the_network_is_fed_what_its_configuration_says():
    images = tf.constant(pictures(1, 32, 32, 3))
    fed = {name: network_input(images, ModelConfig(features=name)).numpy() for name in ("rgb", "rgb+srm", "local+srm")}
    np.testing.assert_array_equal(fed["rgb"], images)
    np.testing.assert_array_equal(fed["rgb+srm"], add_residuals(images))
    np.testing.assert_array_equal(fed["local+srm"][..., :3], local_contrast(images))
    np.testing.assert_array_equal(fed["local+srm"][..., 3:], fed["rgb+srm"][..., 3:])
