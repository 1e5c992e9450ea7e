"""The rules of the house that a machine can hold: who imports whom, file sizes, device names,
requirements."""

import ast
import re
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "pyvene_custom": set(),
    "unlearn": set(),
    "baselines": {"unlearn"},
    "grun": {"unlearn", "pyvene_custom"},
    "rmu": {"unlearn"},
    "eval": {"unlearn"},
}
ONLY_DOOR = {
    "eval.scoring.model": {
        "grun.adapter.weights",
        "grun.inference.hooks",
        "grun.request_stack",
        "baselines.guards.base",
    }
}  # the one place that knows which kinds of checkpoint exist
FILES = sorted(
    path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")
)
OTHERS = [
    path.relative_to(ROOT)
    for pattern in ("*.*", "tests/*", "scripts/*", ".ci/*")
    for path in ROOT.glob(pattern)
]
SUFFIXES = {".py", ".sh", ".toml", ".txt", ".yml", ""}


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(read(path))


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in FILES}


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file imports, in functions too; `from a import b` counts as a.b where that
    is a module."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = path.parts[: len(path.parts) - node.level] if node.level else ()
            name = ".".join([*above, node.module or ""]).strip(".")
            ours = {f"{name}.{alias.name}" for alias in node.names} & MODULES
            found |= ours if len(ours) == len(node.names) else ours | {name}
    return frozenset(found)


def test_imports_run_one_way():
    strangers = []
    for path in FILES:
        own = path.parts[0]
        module = module_of(path)
        closed = MAY_IMPORT.keys() - MAY_IMPORT[own] - {own}
        taken = {name for name in imports(path) if name.split(".")[0] in closed} - ONLY_DOOR.get(
            module, set()
        )
        strangers += [f"{module} imports {name}" for name in sorted(taken)]
    assert strangers == []


def test_no_circles():
    graph = {module_of(path): imports(path) & MODULES for path in FILES}
    assert (
        set(TopologicalSorter(graph).static_order()) == MODULES
    )  # a circle raises CycleError and names it


def test_a_file_is_one_room_with_its_name_on_the_door():
    assert [
        f"{path}: {n} lines" for path in FILES if (n := len(read(path).splitlines())) > 600
    ] == []
    silent = [path for path in FILES if tree(path).body and not ast.get_docstring(tree(path))]
    assert [str(path) for path in silent] == []


def test_devices_are_named_in_devices_py_only():
    found = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            word = node.value if isinstance(node, ast.Constant) else getattr(node, "attr", "")
            if re.fullmatch(r"cuda(:\d+)?", str(word)) and path != Path(
                "unlearn/language_model/devices.py"
            ):
                found.append(f"{path}:{node.lineno} says {word}")
    assert found == []


def test_ascii_only():
    texts = {
        path for path in [*FILES, *OTHERS] if path.suffix in SUFFIXES and (ROOT / path).is_file()
    }
    assert Path("cmd_grun.sh") in texts and Path(".ci/run") in texts
    assert [str(path) for path in sorted(texts) if not read(path).isascii()] == []


def test_requirements_are_what_the_code_imports():
    """Both ways: every package that our code imports is pinned, and every pin is imported (two by
    pandas)."""
    pinned = set(re.findall(r"^([\w.-]+)==[\w.]+", read(Path("requirements.txt")), re.M)) - {
        "tabulate",
        "jinja2",
    }
    used = {name.split(".")[0] for path in FILES for name in imports(path)} - MAY_IMPORT.keys()
    names = {"sklearn": "scikit-learn", "markdown_it": "markdown-it-py"}
    packages = {names.get(name, name.replace("_", "-")) for name in used - sys.stdlib_module_names}
    assert packages == pinned
