"""From a video file to a score, a verdict or a reason why there is none, and to the report."""
