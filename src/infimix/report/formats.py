"""Templates of the pages, and numbers as they show them."""

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str, filters: dict[str, Callable[..., str]]) -> Template:
    """Template of a page: what comes from the data is escaped, what is missing is an error."""
    environment = Environment(
        loader=PackageLoader("infimix.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


def nats(value: float | None) -> str:
    """Four decimals, a dash for nothing."""
    return "–" if value is None else f"{value:.4f}".replace("-", "−")


def decimals(value: float | None) -> str:
    """Two decimals, a dash for nothing."""
    return "–" if value is None else f"{value:.2f}"


def percent(share: float | None) -> str:
    """Share as percent, a dash for nothing; what is not all or nothing is never rounded to it."""
    if share is None:
        return "–"
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "< 0.1 %" if share < 0.5 else "> 99.9 %"
    return f"{100 * share:.1f} %"


def short(value: float | None) -> str:
    """Four significant digits, whole numbers with separators, a dash for nothing."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def signed(value: float) -> str:
    """Two decimals with a sign."""
    return f"{value:+.2f}".replace("-", "−")


def score(value: float | None) -> str:
    """Three decimals for a score, none for a count, a dash for nothing."""
    return f"{value:.3f}".replace("-", "−") if isinstance(value, float) else short(value)


def duration(seconds: float) -> str:
    """Wall time in the units people say it in."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


FILTERS = {
    "nats": nats,
    "decimals": decimals,
    "percent": percent,
    "short": short,
    "signed": signed,
    "score": score,
    "duration": duration,
}
