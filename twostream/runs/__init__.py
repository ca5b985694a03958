"""Run folders and sweeps: their states, results and checkpoints."""
