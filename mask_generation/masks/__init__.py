"""Which pixels of a fake differ from its original: mask recipes under one interface."""
