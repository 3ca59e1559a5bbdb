"""Reading foreign video files safely and writing our own."""
