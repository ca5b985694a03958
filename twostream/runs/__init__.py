"""Run folders and sweeps: their states, results and checkpoints."""


def __getattr__(name: str) -> object:
    if name == "load_run":  # published model cards of before name it here
        from importlib import import_module

        return getattr(import_module("twostream.config.loaded"), name)
    raise AttributeError(f"module 'twostream.runs' has no attribute {name!r}")
