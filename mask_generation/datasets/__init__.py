"""Data sets on disk → clip groups: an original, its manipulated copies, whose faces they show, and the split."""
