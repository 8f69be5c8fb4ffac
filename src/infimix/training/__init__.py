"""Training: rows on the device, one loop, checkpoints; no branch on the model."""

from infimix.training.checkpoint import load_tensors, save_tensors, write_atomically
from infimix.training.images import Affine
from infimix.training.loop import TrainConfig, fit
from infimix.training.progress import Progress
from infimix.training.rows import CODE_ROWS, HeldRows, Rows, rows_on
from infimix.training.state import TrainState, write_history
from infimix.training.tensorboard import TensorBoard
from infimix.training.views import Views, nearest

__all__ = [
    "CODE_ROWS",
    "Affine",
    "HeldRows",
    "Progress",
    "Rows",
    "TensorBoard",
    "TrainConfig",
    "TrainState",
    "Views",
    "fit",
    "load_tensors",
    "nearest",
    "rows_on",
    "save_tensors",
    "write_atomically",
    "write_history",
]
