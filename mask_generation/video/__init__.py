"""Reading untrusted video files safely and writing our own."""
