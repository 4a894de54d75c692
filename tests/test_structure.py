"""The plan holds: who imports whom, how long a module is, what is never committed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "minim2f"

TOP_FOLDERS = {".ci", ".github", "data", "minim2f", "notebooks", "tests"}
TOP_PAGES = {"CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md"}
TOP_SETTINGS = {".gitignore", "Makefile", "environment.yml", "jupytext.toml", "pyproject.toml"}

# Who may import whom. A module follows the longest entry that it lies under; "" is minim2f itself.
DATA = {"shapes", "ops", "files", "data"}
MAY_IMPORT = {
    "shapes": set(),
    "ops": {"ops"},
    "files": set(),
    "data": DATA,
    "model": {"shapes", "ops", "model"},
    "training": {"shapes", "ops", "model", "training"},
    "training.batches": {"model", "training", "data", "prediction"},
    "training.class_names": {"model", "data"},
    "training.evaluation": {"model", "training", "data", "prediction", "inference", "metrics"},
    "training.run_folder": {"files", "model", "training", "checkpoints"},
    "training.loop": {"model", "training", "data"},
    "training.progress": {"model", "training", "data", "prediction", "plots"},
    "prediction": {"ops", "model"},
    "inference": {"shapes", "ops", "data", "model", "prediction"},
    "results": {"files", "data", "inference"},
    "checkpoints": {"files", "model", "checkpoints"},
    "metrics": {"shapes", "data", "metrics"},
    "fonts": set(),
    "colors": {"fonts"},
    "plots": {"shapes", "files", "data", "metrics", "colors", "fonts"},
    "training_report": {"plots", "fonts"},
}
PARTS = set(MAY_IMPORT)
MAY_IMPORT |= {
    "": PARTS,
    "demo": PARTS,
    "book": PARTS | {"", "book", "demo", "commands.arguments"},
    "bench": PARTS | {"bench"},
    "commands": PARTS | {"commands"},
    "cli": PARTS | {"bench", "book", "demo", "commands"},
    "__main__": {"cli"},
}

# A path of somebody's machine, as a traceback or a careless default leaves it behind.
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:home|Users|root|tmp|work|mnt)/(?!you\b)\w[\w./-]*")
COCO_PICTURE = re.compile(r"\d{12}\.(jpe?g|png)", re.IGNORECASE)
LINK = re.compile(r"\]\((?!\w+:)([^)\s#]+)")  # not those to other sites


def assert_none(findings: list[str]) -> None:
    """Fails with every finding on a line of its own."""
    if findings:
        pytest.fail("\n".join(findings), pytrace=False)


def name_of(path: Path) -> str:
    """minim2f/data/coco.py is "data.coco", minim2f/data/__init__.py is "data"."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


def lies_under(name: str, part: str) -> bool:
    return name == part or (part != "" and name.startswith(part + "."))


def imports(tree: ast.AST, package: str) -> set[str]:
    """The modules of ours that a file in `package` imports, at its top or inside a function."""
    full = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                submodule = f"{base}.{alias.name}".removeprefix("minim2f.") in MODULES
                full.add(f"{base}.{alias.name}" if submodule else base)
    return {name[len("minim2f.") :] for name in full if lies_under(name, "minim2f")}


def imports_of(name: str) -> set[str]:
    is_package = MODULES[name].name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    return imports(TREES[name], f"minim2f.{package}".rstrip("."))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def code_lines(function: ast.FunctionDef, lines: list[str]) -> int:
    """Lines of a function, without its docstring, comments and empty lines."""
    body = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function) is not None:
        body -= set(range(function.body[0].lineno, function.body[0].end_lineno + 1))
    texts = [lines[number - 1].strip() for number in body]
    return sum(bool(text) and not text.startswith("#") for text in texts)


def public(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Functions and classes without a leading underscore, and the methods of these classes."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def missing_annotations(function: ast.FunctionDef) -> list[str]:
    a = function.args
    given = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    missing = [arg.arg for arg in given if arg.annotation is None]
    missing += ["return"] if function.returns is None else []
    return [name for name in missing if name not in ("self", "cls")]


def unpickles(call: ast.Call) -> bool:
    """True for a call that would run code from a file."""
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    called = ast.unparse(call.func)
    return (
        called in ("pickle.load", "pickle.loads")
        or (called == "torch.load" and options.get("weights_only") != "True")
        or options.get("allow_pickle", "False") != "False"
    )


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files that git tracks, as paths from the root."""
    try:
        run = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so nothing is tracked")
    return [name for name in run.stdout.split("\0") if (ROOT / name).is_file()]


# --- the road ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import torch, os.path", "minim2f.data", set()),
        ("from .sample import Sample", "minim2f.data", {"data.sample"}),
        ("from . import sample", "minim2f.data", {"data.sample"}),
        ("from ..model import config, Mask2Former", "minim2f.data", {"model.config", "model"}),
        ("import minim2f.shapes", "minim2f", {"shapes"}),
        ("def f():\n    from minim2f import Mask2Former", "minim2f.model", {""}),
    ],
)
def test_imports_are_read(source: str, package: str, expected: set[str]) -> None:
    assert imports(ast.parse(source), package) == expected


def test_nobody_imports_against_the_road() -> None:
    wrong = []
    for name in MODULES:
        rules = [part for part in MAY_IMPORT if lies_under(name, part)]
        if not rules:
            wrong.append(f"{name} is in no part of the plan: it needs a row in MAY_IMPORT")
            continue
        allowed = MAY_IMPORT[max(rules, key=len)]
        for target in imports_of(name):
            if not any(lies_under(target, part) for part in allowed):
                wrong.append(f"{name or 'minim2f'} imports {target or 'minim2f'}")
    assert_none(wrong)


def test_imports_have_no_circle() -> None:
    TopologicalSorter({name: imports_of(name) for name in MODULES}).prepare()


# --- the modules ---------------------------------------------------------------------------------


def test_modules_and_functions_stay_short() -> None:
    long = []
    for name, path in MODULES.items():
        lines = path.read_text("utf-8").splitlines()
        if len(lines) > 300:
            long.append(f"{name}: {len(lines)} lines, 300 at most")
        for function in functions(TREES[name]):
            count = code_lines(function, lines)
            if count > 40:
                long.append(f"{name}.{function.name}: {count} lines of code, 40 at most")
    assert_none(long)


def test_the_model_stays_under_a_thousand_lines() -> None:
    modules = [path for name, path in MODULES.items() if lies_under(name, "model")]
    assert sum(len(path.read_text("utf-8").splitlines()) for path in modules) < 1000


def test_lines_stay_within_100_characters() -> None:
    files = [*MODULES.values(), *(ROOT / "tests").glob("*.py")]
    wide = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if len(line) > 100
    ]
    assert_none(wide)


def test_everything_public_is_described_and_typed() -> None:
    poor = [f"{name}: no docstring" for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        for node in public(tree):
            if ast.get_docstring(node) is None:
                poor.append(f"{name}.{node.name}: no docstring")
            if isinstance(node, ast.FunctionDef) and (missing := missing_annotations(node)):
                poor.append(f"{name}.{node.name}: no annotation for {', '.join(missing)}")
    assert_none(poor)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("pickle.load(f)", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path)", False),
        ("json.load(f)", False),
    ],
)
def test_unpickling_is_seen(source: str, expected: bool) -> None:
    assert unpickles(ast.parse(source, mode="eval").body) is expected


def test_no_file_can_run_code_when_it_is_loaded() -> None:
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and unpickles(node):
                found.append(f"{name}:{node.lineno} {ast.unparse(node)}")
            if isinstance(node, ast.ImportFrom) and node.module == "pickle":
                found.append(f"{name}:{node.lineno} write pickle.NAME, so that this test sees it")
    assert_none(found)


# --- what is committed -------------------------------------------------------------------------


def test_top_level_holds_nothing_else(tracked: list[str]) -> None:
    allowed = TOP_FOLDERS | TOP_PAGES | TOP_SETTINGS
    assert_none([name for name in tracked if name.split("/")[0] not in allowed])


def test_no_coco_picture_is_committed(tracked: list[str]) -> None:
    assert_none([name for name in tracked if COCO_PICTURE.search(name)])


def test_no_path_of_a_machine_is_committed(tracked: list[str]) -> None:
    found = []
    for name in tracked:
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", errors="replace")
            found += [f"{name}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
            found += [f"{name}: {ROOT}"] * (f"{ROOT}/" in text)
    assert_none(found)


def test_every_chapter_is_a_pair(tracked: list[str]) -> None:
    chapters = [Path(name) for name in tracked if re.fullmatch(r"notebooks/[^/]+", name)]
    sources = {path.stem for path in chapters if path.suffix == ".py"}
    assert sources == {path.stem for path in chapters if path.suffix == ".ipynb"}


def test_links_between_our_pages_lead_somewhere(tracked: list[str]) -> None:
    dead = []
    for name in tracked:
        if name.endswith(".md"):
            page = ROOT / name
            for target in LINK.findall(page.read_text("utf-8")):
                if not (page.parent / target).exists():
                    dead.append(f"{name}: {target}")
    assert_none(dead)
