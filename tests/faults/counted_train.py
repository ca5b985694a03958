"""train.py, which also counts its steps: a byte each in the file COUNT_STEPS_IN; HANG_ON names a video that hangs."""

import os
import runpy
import sys
import time
from pathlib import Path


def main() -> None:
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before PyTorch is imported
    from twostream.data import frames as frame_source
    from twostream.training.callbacks import Alive

    counted = os.open(os.environ["COUNT_STEPS_IN"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    beat = Alive.on_train_batch_end

    def count(self: Alive, *arguments: object) -> None:
        beat(self, *arguments)
        os.write(counted, b".")

    Alive.on_train_batch_end = count  # type: ignore[method-assign]
    read = frame_source.read_frames

    def hang(path: Path, *arguments: object, **options: object) -> object:
        if os.environ.get("HANG_ON", "no such video") in str(path):
            time.sleep(1e6)
        return read(path, *arguments, **options)

    frame_source.read_frames = hang
    runpy.run_path(str(root / "train.py"), run_name="__main__")


if __name__ == "__main__":
    main()
