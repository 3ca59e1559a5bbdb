"""What all tests share: examples may take as long as a busy machine needs, and are the same on every run."""

from hypothesis import settings

settings.register_profile("any_machine", deadline=None, derandomize=True)
settings.load_profile("any_machine")
