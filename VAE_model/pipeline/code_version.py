"""The version of a script's code: a hash of everything in it that can change a result.

It covers the script and every module of VAE_model that it imports, directly or through others, as
syntax trees. Left out is what cannot change a result: comments, layout, docstrings, prints, texts
of errors, the fields of a script's Config (the side-car has their values), and this package.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_MACHINERY = Path(__file__).resolve().parent
_BESIDE = _MACHINERY.parent.parent  # the folder that holds VAE_model
_SHOWN = _MACHINERY.parent / "report"  # figures, tables, pages
_DATA = (".js", ".mplstyle", ".html", ".css", ".json", ".toml")  # files that modules read


@cache
def code_version(*files: Path, frozen: bool = False) -> str:
    """Return the version of the code in these files and of all that they import, 16 digits.

    A missing file has a version of its own. frozen: as a protocol freezes it, with the defaults of
    every Config, and without VAE_model/report, which shows results and changes none.
    """
    todo, seen = [path.resolve() for path in files], set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen and not (frozen and _SHOWN in path.parents):
            seen.add(path)
            todo += _read(path, frozen)[1]
    found = sorted(f"{_name(path)} {_read(path, frozen)[0]}" for path in seen)
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _name(path: Path) -> str:
    """Return a name that does not depend on the folder of the repository."""
    return path.relative_to(_BESIDE).as_posix() if path.is_relative_to(_BESIDE) else path.name


@cache
def _read(path: Path, constants: bool = False) -> tuple[str, list[Path]]:
    """Return the hash of one file, and the files that it imports, or reads from its folder.

    constants: the fields of a Config count.
    """
    if not path.is_file():
        return "missing", []
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest(), []
    tree = _Silent(constants).visit(ast.parse(path.read_bytes()))
    return hashlib.sha256(repr(_plain(tree)).encode()).hexdigest(), list(_imports(tree, path))


def _plain(node: object) -> object:
    """Return a syntax tree as tuples that do not depend on the version of Python."""
    if isinstance(node, list):
        return [_plain(part) for part in node]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
    return type(node).__name__, [(n, v) for n, v in fields if v is not None and v != []]


class _Silent(ast.NodeTransformer):
    """Remove from a syntax tree what cannot change a result; constants: keep those of a Config."""

    def __init__(self, constants: bool) -> None:
        self.constants = constants

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        value = node.value
        if isinstance(value, ast.Constant):  # a docstring
            return None
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "print":
            return None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if node.name == "Config" and not self.constants:
            node.body = [part for part in node.body if not isinstance(part, ast.AnnAssign)]
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            return ast.Raise(node.exc.func)
        return node


def _imports(tree: ast.AST, path: Path) -> Iterator[Path]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Constant) and str(node.value).endswith(_DATA):
            beside = path.parent / str(node.value)
            if beside.is_file():
                yield beside
        for name in names:
            if name.startswith("VAE_model."):
                yield from _files_of(name)


def _files_of(module: str) -> Iterator[Path]:
    """Yield the file of a module; of a package, that of its __init__."""
    path = _BESIDE.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file() and _MACHINERY not in file.parents:
            yield file
