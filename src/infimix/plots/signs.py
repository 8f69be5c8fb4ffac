"""Colours and shapes that tell groups apart.

A group is told apart by its colour, of which there are 24; by its shape, which changes with every
seventh group, so that colours of one shape stay apart in the common forms of colour blindness; and
by its name, which is written on the map.
"""

from typing import NamedTuple

# First Okabe and Ito's palette, its yellow and black left out: they vanish on white or on black
# paper, and so do seven and more colours of each of plotly's palettes of 24. The others were
# searched: far from all before them, those of one line also to colour-blind eyes.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#5F5F5F"),
    *("#4400FF", "#00CC00", "#FF44EE", "#FF0066", "#882288", "#446600", "#8800CC"),
    *("#0066EE", "#CC8866", "#CC88FF", "#FF0000", "#AA2222", "#FF44AA", "#AA2266"),
    *("#886600", "#AAAA66", "#AAAAFF"),
)
COLOURS_OF_A_SHAPE = 7
SYMBOLS = {  # plotly's name -> points of the same shape as an SVG path in a box of 16 by 16
    "circle": "M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12z",
    "square": "M2.5 2.5h11v11h-11z",
    "diamond": "M8 1l7 7l-7 7l-7-7z",
    "triangle-up": "M8 1.5l7 12.5h-14z",
    "cross": "M5.5 1.5h5v4h4v5h-4v4h-5v-4h-4v-5h4z",
    "triangle-down": "M8 14.5l7-12.5h-14z",
    "x": "M4.5 1.5L8 5l3.5-3.5l3 3L11 8l3.5 3.5l-3 3L8 11l-3.5 3.5l-3-3L5 8L1.5 4.5z",
    "pentagon": "M8 1l7 5.1l-2.7 8.2h-8.6l-2.7-8.2z",
}
MARKERS = dict(zip(SYMBOLS, "osD^PvXp", strict=True))  # plotly's name -> matplotlib's


class Sign(NamedTuple):
    """Colour and shape of a group or label."""

    colour: str
    symbol: str  # plotly's name
    path: str  # the same shape as an SVG path

    @property
    def marker(self) -> str:
        """The same shape by matplotlib's name."""
        return MARKERS[self.symbol]


def sign_of(k: int) -> Sign:
    """Sign number k; 168 of them are different pairs of colour and shape."""
    symbol = tuple(SYMBOLS)[k // COLOURS_OF_A_SHAPE % len(SYMBOLS)]
    return Sign(COLOURS[k % len(COLOURS)], symbol, SYMBOLS[symbol])
