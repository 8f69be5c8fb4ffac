"""Errors that have no standard name; each is a subclass of the built-in nearest in meaning."""


class DownloadError(OSError):
    """A data file could not be fetched, whole and unchanged, from any of its addresses."""


class DataFileError(ValueError):
    """A data file is cut off, damaged, or not the one that was published."""


class DivergedError(FloatingPointError):
    """A bound stopped being finite during training."""
