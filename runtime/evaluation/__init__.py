"""Measuring a detector so that others can check it: metrics, intervals, baselines, comparison, robustness, reports.

Label 1 (and "positive", and a high score) means *fake* everywhere in this package.
Nothing here imports TensorFlow except `classifier`, which trains networks.
"""

from __future__ import annotations
