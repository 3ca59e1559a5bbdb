"""Videos on disk to face crops with masks of the faked pixels, as TFRecords on disk."""

import unet_industrial  # noqa: F401  sets the TensorFlow environment before anyone imports it
