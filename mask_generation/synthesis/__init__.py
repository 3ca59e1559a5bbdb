"""Manipulations with exact masks, made from real pictures: training data without fakes, and truth for mask recipes."""
