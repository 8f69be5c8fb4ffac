"""A pass over rows keeps their order and leaves nothing out."""

import torch

from infimix.models import Pass


def test_map_is_the_function_of_all_rows() -> None:
    x = torch.arange(70.0).reshape(35, 2)
    rows = Pass(35, lambda: iter(x.split(8)))
    for _ in range(2):  # a pass can be gone over again
        squares = rows.map(lambda part: part.double()[:, None] ** 2)
        torch.testing.assert_close(squares, x.double()[:, None] ** 2)
