"""House rules that a machine can check: direction of imports, length of files, forbidden text."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "infimix"

# Imports point from a layer to itself and to those left of it.
LAYERS = (
    "data",
    "networks",
    "distributions",
    "mixture",
    "models",
    "training",
    "plots",
    "estimators",
    "evaluation",
    "report",
    "papers",
    "cli",
    "__main__",
)
FOR_ALL = ("errors", "__version__")

MAX_LINES = 400
MAX_MEDIAN_LINES = 200

TORCH_DRAWS = frozenset(
    "bernoulli multinomial normal poisson rand rand_like randint randint_like randn randn_like "
    "randperm".split()
)
TORCH_GLOBALS = frozenset(["torch", "torch.random", "torch.cuda", "torch.cuda.random"])
NUMPY_GENERATORS = frozenset(["default_rng", "Generator", "PCG64", "RandomState", "SeedSequence"])
# These of scikit-learn draw from NumPy's global generator unless told otherwise.
SEEDED_BY_ARGUMENT = frozenset(
    "BayesianGaussianMixture GaussianMixture KMeans MiniBatchKMeans TSNE kmeans_plusplus "
    "train_test_split".split()
)

# Written with brackets so that this file does not hold what it forbids.
FORBIDDEN_TEXT = re.compile(
    r"(?<![\w./:~*-])/(?:home|opt|root|tmp|Users|work)/"
    r"|p[y]pi\.(?:org|io)|p[y]thonhosted|download\.p[y]torch|anaconda\.(?:org|com)",
)


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def call_name(call: ast.Call) -> str:
    """Dotted name of what is called, '' where it is not a plain name."""
    return ast.unparse(call.func) if isinstance(call.func, ast.Attribute | ast.Name) else ""


def imported_layers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and layer of each import from the package; '.' stands for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            names = ["infimix.."]
        elif isinstance(node, ast.ImportFrom) and node.module == "infimix":
            names = [f"infimix.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "infimix":
                yield node.lineno, rest.split(".")[0] or "."


def offending_imports(package: Path) -> Iterator[str]:
    """Each import that is relative or points forward along LAYERS, and each unknown layer."""
    for path in modules(package):
        inside = path.relative_to(package)
        own = inside.parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        if own not in (*LAYERS, "errors"):
            yield f"{inside}: '{own}' is not in LAYERS"
            continue
        reach = LAYERS[: LAYERS.index(own) + 1] if own in LAYERS else ()
        for line, layer in imported_layers(parse(path)):
            if layer not in (*reach, *FOR_ALL):
                yield f"{inside}:{line} imports {layer}"


def parents(tree: ast.Module) -> dict[ast.AST, ast.AST]:
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


def in_forked_rng(node: ast.AST, parent: dict[ast.AST, ast.AST]) -> bool:
    """Whether the node stands inside ``with torch.random.fork_rng(...)``."""
    while node in parent:
        node = parent[node]
        if isinstance(node, ast.With) and any(
            isinstance(item.context_expr, ast.Call)
            and call_name(item.context_expr).endswith("fork_rng")
            for item in node.items
        ):
            return True
    return False


def global_randomness(tree: ast.Module) -> Iterator[str]:
    """Each draw from, or seed of, a generator that belongs to nobody."""
    parent = parents(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if "random" in names and isinstance(node, ast.Import):
                yield f"{node.lineno}: the random module"
        if not isinstance(node, ast.Call):
            continue
        name = call_name(node)
        owner, _, function = name.rpartition(".")
        arguments = {keyword.arg for keyword in node.keywords}
        if owner in ("np.random", "numpy.random"):
            if function not in NUMPY_GENERATORS or not (node.args or node.keywords):
                yield f"{node.lineno}: {name}"
        elif owner in TORCH_GLOBALS and "seed" in function and not in_forked_rng(node, parent):
            yield f"{node.lineno}: {name} outside fork_rng"
        elif owner == "torch" and function in TORCH_DRAWS:
            if "generator" not in arguments and not in_forked_rng(node, parent):
                yield f"{node.lineno}: {name} without generator"
        elif function in SEEDED_BY_ARGUMENT and "random_state" not in arguments:
            yield f"{node.lineno}: {name} without random_state"


def swallowed_or_printed(tree: ast.Module) -> Iterator[str]:
    """Each print and each handler that takes every error without raising it again."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and call_name(node) == "print":
            yield f"{node.lineno}: print"
        if isinstance(node, ast.ExceptHandler):
            caught = "" if node.type is None else ast.unparse(node.type)
            raises = any(isinstance(inner, ast.Raise) and not inner.exc for inner in node.body)
            if caught in ("", "Exception", "BaseException") and not raises:
                yield f"{node.lineno}: except {caught}"


def too_long(paths: list[Path]) -> Iterator[str]:
    for path in paths:
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > MAX_LINES:
            yield f"{path.name}: {n_lines} lines"


def tracked_texts() -> Iterator[tuple[str, str]]:
    """Path and text of every file that is, or is about to be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode("utf-8")


def test_imports_point_one_way() -> None:
    assert list(offending_imports(PACKAGE)) == []


def test_no_file_is_too_long() -> None:
    assert list(too_long([*modules(ROOT / "src"), *modules(ROOT / "tests")])) == []


def test_the_median_file_is_short() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules(PACKAGE)]
    assert statistics.median(lengths) < MAX_MEDIAN_LINES


@pytest.mark.parametrize("path", modules(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_source_is_clean(path: Path) -> None:
    tree = parse(path)
    assert [*global_randomness(tree), *swallowed_or_printed(tree)] == []


def test_no_machine_or_registry_is_named() -> None:
    found = [
        f"{name}:{n}: {line.strip()}"
        for name, text in tracked_texts()
        for n, line in enumerate(text.splitlines(), start=1)
        if FORBIDDEN_TEXT.search(line)
    ]
    assert found == []


# The guards themselves: each has to find what it looks for.


def write_package(folder: Path, **sources: str) -> Path:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "source",
    [
        "from infimix.models import x",
        "import infimix.cli",
        "def f():\n    from infimix import load",
        "from .errors import x",
    ],
)
def test_forward_and_relative_imports_are_found(tmp_path: Path, source: str) -> None:
    assert len(list(offending_imports(write_package(tmp_path, mixture=source)))) == 1


def test_unknown_layers_are_found(tmp_path: Path) -> None:
    assert "utils" in next(offending_imports(write_package(tmp_path, utils="")))


def test_backward_imports_are_allowed(tmp_path: Path) -> None:
    source = "import infimix.data\nfrom infimix import __version__\nfrom infimix.errors import E"
    assert list(offending_imports(write_package(tmp_path, models=source))) == []


@pytest.mark.parametrize(
    "source",
    [
        "np.random.seed(0)",
        "np.random.default_rng()",
        "numpy.random.rand(3)",
        "import random",
        "torch.manual_seed(0)",
        "torch.cuda.manual_seed_all(0)",
        "torch.randn(3)",
        "torch.randn_like(x)",
        "KMeans(3)",
    ],
)
def test_global_randomness_is_found(source: str) -> None:
    assert len(list(global_randomness(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.random.default_rng(seed)",
        "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)\n    torch.randn(3)",
        "torch.randn(3, generator=generator)",
        "torch.Generator().manual_seed(0)",
        "KMeans(3, random_state=0)",
    ],
)
def test_owned_randomness_is_allowed(source: str) -> None:
    assert list(global_randomness(ast.parse(source))) == []


@pytest.mark.parametrize(
    ("body", "n_found"),
    [("pass", 1), ("raise", 0)],
    ids=["swallowed", "raised again"],
)
@pytest.mark.parametrize("caught", ["", " Exception", " BaseException"])
def test_swallowed_errors_are_found(caught: str, body: str, n_found: int) -> None:
    source = f"try:\n    f()\nexcept{caught}:\n    {body}"
    assert len(list(swallowed_or_printed(ast.parse(source)))) == n_found


def test_print_is_found() -> None:
    assert list(swallowed_or_printed(ast.parse("print(1)"))) == ["1: print"]


def test_long_files_are_found(tmp_path: Path) -> None:
    write_package(tmp_path, short="x = 1\n" * MAX_LINES, long="x = 1\n" * (MAX_LINES + 1))
    assert list(too_long(modules(tmp_path))) == [f"long.py: {MAX_LINES + 1} lines"]


@pytest.mark.parametrize("folder", ["home", "root", "tmp", "work"])
def test_machine_paths_are_found(folder: str) -> None:
    assert FORBIDDEN_TEXT.search(f"see /{folder}/me/x.py")
    assert not FORBIDDEN_TEXT.search(f"example.com/{folder}/x and ~/{folder}/x")
