"""The kind of data: binary, unit interval, counts or real, and the scaling that goes with it.

A model sees (x - offset) / scale. Detection reads only the summary of the columns:

- only 0 and 1: binary;
- whole numbers on a bounded scale of at most `MOST_LEVELS` steps: levels;
- bytes (uint8), longer bounded scales, and fractions in [0, 1], if they are mostly near both ends
  of their range, as ink is: unit;
- other whole numbers, none negative, if they count: counts;
- anything else: real.

A bounded scale shows in its upper end: several columns reach exactly the same maximum, and reach
it often, or nearly all do, while the largest count of a column is a rare value and differs between
columns. What counts goes down to zero, and is a share of a sum to which many columns add: a table
of ages, incomes and lengths in whole numbers is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from infimix.data.columns import ColumnSummary

KINDS = ("binary", "unit", "levels", "real", "counts")

BOUNDED_COLUMNS = 0.1
"""Least share of the columns that must reach the common maximum of a bounded scale."""

BOUNDED_ROWS = 0.05
"""Least share of the rows, on average over those columns, that must hold the maximum."""

NEARLY_ALL_COLUMNS = 0.9
"""Share of the columns that show a bounded scale by their common maximum, however rare it is."""

NEAR_ENDS = 0.45
"""Least variance within [0, 1], as a share of that of 0 and 1 with the same means: what is read as
probabilities of ones. MNIST has .78, Fashion-MNIST .52; uniform values have .33, tables whose
columns run from 0 to 1 have .1 to .3, and to read those so would drown them in noise."""

ZERO_COLUMNS, LARGEST_SHARE = 0.5, 0.5
"""Of counts: least share of the columns that reach zero, and most that one column adds."""

MOST_LEVELS = 32
"""Longest scale whose steps are kept apart; on longer ones they are rounding."""

_BYTE = 255.0


@dataclass(frozen=True)
class Kind:
    """Kind of data and its scaling.

    Attributes
    ----------
    name : str
        One of `KINDS`.
    offset, scale : ndarray of shape (D,)
        float64; the input of a model is ``(x - offset) / scale``. Scales are positive.
    sentence : str
        What is done, in one line for people.
    """

    name: str
    offset: np.ndarray
    scale: np.ndarray
    sentence: str


def detect_kind(summary: ColumnSummary, kind: str = "auto") -> Kind:
    """Detect the kind of data from its summary, or apply the kind that is asked for.

    Parameters
    ----------
    summary : ColumnSummary
        From `summarise_columns`, of finite rows.
    kind : {"auto", "binary", "unit", "levels", "real", "counts"}, default="auto"
        A kind that is asked for must be possible: binary needs 0 and 1, counts need whole numbers
        that are not negative. Any data can be real or, by their range, unit.

    Returns
    -------
    Kind

    Raises
    ------
    ValueError
        If there is no such kind, or the data cannot be of it.

    Examples
    --------
    >>> from infimix.data.columns import summarise_columns
    >>> detect_kind(summarise_columns(np.array([[0.0, 1.0], [0.9, 0.1]]))).sentence
    'treating 2 columns in [0, 1] as unit interval'
    """
    if kind == "auto":
        return _MAKERS[_detect(summary)](summary)
    if kind not in KINDS:
        raise ValueError(
            f"The kind of data must be 'auto', {', '.join(repr(k) for k in KINDS)}; got {kind!r}."
        )
    low, high = summary.minimum.min(), summary.maximum.max()
    if kind == "binary" and not _is_binary(summary):
        fault = "fractions" if not summary.is_integer else f"values in [{low:g}, {high:g}]"
        raise ValueError(
            f"The data cannot be binary, which needs the values 0 and 1 only: they hold {fault}; "
            "choose another kind or recode them."
        )
    if kind == "levels" and not summary.is_integer:
        raise ValueError(
            "The data cannot be levels of a scale, which needs whole numbers: they hold fractions; "
            "choose another kind, such as 'unit' or 'real'."
        )
    if kind == "counts" and (not summary.is_integer or low < 0):
        fault = f"values down to {low:g}" if low < 0 else "fractions"
        raise ValueError(
            "The data cannot be counts, which needs whole numbers that are not negative: they hold "
            f"{fault}; choose another kind, such as 'real'."
        )
    return _MAKERS[kind](summary)


def _detect(summary: ColumnSummary) -> str:
    """Name of the kind by the rules of this module."""
    low, high = summary.minimum.min(), summary.maximum.max()
    if _is_binary(summary):
        return "binary"
    if low < 0:
        return "real"
    if not summary.is_integer:
        return "unit" if high <= 1 and _is_near_ends(summary) else "real"
    is_bounded = _is_bounded(summary)
    if is_bounded and high - low <= MOST_LEVELS:
        return "levels"
    if is_bounded or _is_bytes(summary):
        return "unit" if _is_near_ends(summary) else "real"
    return "counts" if _is_counted(summary) else "real"


def _is_binary(summary: ColumnSummary) -> bool:
    """Whether all values are 0 or 1."""
    return summary.is_integer and summary.minimum.min() >= 0 and summary.maximum.max() <= 1


def _is_bounded(summary: ColumnSummary) -> bool:
    """Whether whole numbers pile up at a common maximum of at most 255."""
    high = summary.maximum.max()
    reaches = summary.maximum == high
    n_reaching = int(reaches.sum())
    return bool(
        not summary.is_sparse
        and high <= _BYTE
        and n_reaching >= max(2, BOUNDED_COLUMNS * summary.n_features)
        and (
            n_reaching >= NEARLY_ALL_COLUMNS * summary.n_features
            or summary.n_at_maximum[reaches].mean() >= BOUNDED_ROWS * summary.n_rows
        )
    )


def _is_bytes(summary: ColumnSummary) -> bool:
    return summary.dtype == np.uint8 and not summary.is_sparse


def _is_near_ends(summary: ColumnSummary) -> bool:
    """Whether values within a common range vary nearly as much as 0 and 1 would; zeros do."""
    lower, upper = _unit_range(summary)
    most = (summary.mean - lower) * (upper - summary.mean)  # of the ends alone, (D,)
    return bool(summary.is_sparse or summary.variance.sum() >= NEAR_ENDS * most.sum())


def _is_counted(summary: ColumnSummary) -> bool:
    """Whether whole numbers go down to zero, and many columns add to their sum."""
    zeros = float((summary.minimum == 0).mean())
    return bool(
        summary.is_sparse
        or (zeros >= ZERO_COLUMNS and summary.mean.max() <= LARGEST_SHARE * summary.mean.sum())
    )


def _unit_range(summary: ColumnSummary) -> tuple[float, float]:
    """Range that becomes [0, 1]."""
    low, high = float(summary.minimum.min()), float(summary.maximum.max())
    if 0 <= low and high <= 1:
        return 0.0, 1.0
    if _is_bytes(summary) and not _is_bounded(summary):
        return 0.0, _BYTE
    return low, high if high > low else low + 1.0


def _unit(summary: ColumnSummary) -> Kind:
    """Scale the common range to [0, 1]."""
    lower, upper = _unit_range(summary)
    scale = upper - lower
    how = [f"shifted by {-lower:g}"] if lower else []
    how += [f"scaled by 1/{scale:g}"] if scale != 1 else []
    done = f" ({', '.join(how)})" if how else ""
    return _kind(
        summary,
        "unit",
        (lower, scale),
        f"{_columns(summary)} in [{lower:g}, {upper:g}] as unit interval{done}",
    )


def _levels(summary: ColumnSummary) -> Kind:
    """Scale the levels to [0, 1]."""
    low, high = float(summary.minimum.min()), float(summary.maximum.max())
    scale = high - low or 1.0
    text = f"{_columns(summary)} of whole numbers in [{low:g}, {high:g}] as levels of a scale"
    return _kind(summary, "levels", (low, scale), text)


def _real(summary: ColumnSummary) -> Kind:
    """Give every column mean 0 and standard deviation 1; constant columns are only shifted."""
    is_constant = summary.minimum == summary.maximum
    # The mean of a constant column is that constant, not its rounded sum over N.
    offset = np.where(is_constant, summary.minimum, summary.mean)
    deviation = np.sqrt(summary.variance)
    scale = np.where(is_constant | ~(deviation > 0), 1.0, deviation)
    low, high = summary.minimum.min(), summary.maximum.max()
    sentence = (
        f"treating {_columns(summary)} in [{low:.4g}, {high:.4g}] as real numbers (each scaled to "
        "mean 0, standard deviation 1)"
    )
    return Kind("real", offset, scale, sentence)


def _binary(summary: ColumnSummary) -> Kind:
    """Leave 0 and 1 as they are."""
    text = f"{_columns(summary)} of 0 and 1 as binary"
    return _kind(summary, "binary", (0.0, 1.0), text)


def _counts(summary: ColumnSummary) -> Kind:
    """Leave counts as they are."""
    text = (
        f"{_columns(summary)} of whole numbers in [{summary.minimum.min():g}, "
        f"{summary.maximum.max():g}] as counts"
    )
    return _kind(summary, "counts", (0.0, 1.0), text)


def _kind(summary: ColumnSummary, name: str, form: tuple[float, float], text: str) -> Kind:
    """Build a kind whose offset and scale are common to all columns."""
    offset, scale = (np.full(summary.n_features, value) for value in form)
    return Kind(name, offset, scale, f"treating {text}")


def _columns(summary: ColumnSummary) -> str:
    """Say how many columns there are."""
    return f"{summary.n_features} column{'s' if summary.n_features > 1 else ''}"


_MAKERS: dict[str, Callable[[ColumnSummary], Kind]] = {
    "binary": _binary,
    "unit": _unit,
    "levels": _levels,
    "real": _real,
    "counts": _counts,
}
