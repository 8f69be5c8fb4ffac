"""Records of a training for TensorBoard, by torch's own writer."""

from __future__ import annotations

import os
from typing import Any, Self, final


@final
class TensorBoard:
    """Writes every epoch's record as scalars ``PHASE/NAME``; nothing if `folder` is None.

    Parameters
    ----------
    folder : path or None
        Gets the event file. Earlier ones in it are hidden: a resumed fit brings all its records.

    Raises
    ------
    ModuleNotFoundError
        If there is a folder but no tensorboard.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Logging for TensorBoard needs the package tensorboard, which is not installed: "
                "pip install tensorboard, or leave tensorboard_dir out."
            ) from error
        self._writer = SummaryWriter(os.fspath(folder), purge_step=0)

    def __enter__(self) -> Self:
        """Nothing to start."""
        return self

    def __exit__(self, *error: object) -> None:
        """Write what is still in memory, also after an error."""
        if self._writer is not None:
            self._writer.close()

    def show(self, record: dict[str, Any]) -> None:
        """Write the numbers of one epoch's record."""
        if self._writer is None:
            return
        for name, value in record.items():
            if name != "epoch" and isinstance(value, int | float):
                self._writer.add_scalar(f"{record['phase']}/{name}", value, record["epoch"])
        self._writer.flush()  # so that it can be watched
