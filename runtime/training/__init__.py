"""The training loop, its checkpoints, its log, its workers and where its examples come from."""
