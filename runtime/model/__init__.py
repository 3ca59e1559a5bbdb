"""Exported models: made, checked, loaded, calibrated."""
