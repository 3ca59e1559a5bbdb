"""Faces in a frame, and the same person over time."""
