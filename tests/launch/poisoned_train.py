"""train.py, where the loss of the second process is NaN in step 2; each leaves `RANK.json`: what it has skipped."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    from twostream.training.finiteness import FiniteLoss
    from twostream.training.system import TwoStreamSystem

    compute, rank = TwoStreamSystem.loss, os.environ["RANK"]

    def loss(self: TwoStreamSystem, heads: Any, label: Any) -> Any:
        bad = self.training and rank == "1" and self.trainer.global_step == 1
        return compute(self, heads * float("nan") if bad else heads, label)

    def leave(self: FiniteLoss, trainer: Any, pl_module: Any) -> None:
        weights = sum(weight.double().sum().item() for weight in pl_module.parameters())
        (self.folder / f"{rank}.json").write_text(json.dumps([self.skipped, weights]))

    TwoStreamSystem.loss = loss  # type: ignore[method-assign]
    FiniteLoss.on_train_end = leave  # type: ignore[method-assign]
    runpy.run_path(str(root / "train.py"), run_name="__main__")


if __name__ == "__main__":
    main()
