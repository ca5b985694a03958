"""Two-stream networks for video action recognition: where and how to fuse appearance and motion."""

__version__ = "0.1.0"
