"""The shape of the package: who imports whom, what is public, and how long a file may be."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

import arraycnn
import passes
from rules import for_each

SOURCE = Path(arraycnn.__file__).parent
TESTS = Path(__file__).parent
CUPY = {"ops/cuda/cupy.py", "backends/cupy.py", "execution/recorded.py"}
ARRAY_API = {"ops/arrays.py"}
OPTIONAL = {"cupy", "cupyx", "torch", "jax", "llvmlite", "matplotlib", "PIL", "onnx", "mpi4py"}
OPTIONAL |= {"tensorboardX"}
OPTIONAL |= {"safetensors", "sklearn"}
LAZY = {"torch", "jax", "cupy", "matplotlib", "PIL", "click", "rich", "array_api_strict"}
LAZY |= {"llvmlite", "onnx", "safetensors", "sklearn"}

# From the bottom to the top; nothing may reach what stands in a later line, by any detour.
ORDER = [
    {
        *("errors", "setting_checks", "tree", "escaping", "optional_packages", "moved_modules"),
        *("storage.atomic_writes", "storage.file_lock", "storage.folder_lock"),
        *("storage.user_paths", "storage.provenance"),
    },
    {"ops", "data", "distributed"},
    {"layers", "losses", "optimizers"},
    {"training.step", "training.batch_loss"},
    {"program"},
    {"execution"},
    {"backends"},
    {"training", "callbacks"},
    {"model", "storage"},
    {"networks", "scratch", "export", "estimator", "report", "profiling"},
    {"cli", "__main__"},
]


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def module_name(path: Path) -> str:
    parts = ["arraycnn", *path.relative_to(SOURCE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {relative(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {file: ast.parse(path.read_text("utf-8")) for file, path in FILES.items()}
MODULES = {module_name(path): file for file, path in FILES.items()}
each_file = for_each(FILES)


def running_nodes(node: ast.AST):
    """All of ``node`` but what only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from running_nodes(child)


@cache
def imports(node: ast.AST) -> set[str]:
    """Full names of the imported modules; for ``from a import b``, a.b where that is a module."""
    found = set()
    for child in running_nodes(node):
        if isinstance(child, ast.Import):
            found |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            names = {f"{child.module}.{alias.name}" for alias in child.names}
            found |= {name if name in MODULES else child.module for name in names}
    return found


def libraries(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def at_module_level(tree: ast.AST) -> ast.Module:
    """The imports and calls of ``tree`` that run as it is imported."""
    in_functions = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            parts = node.body if isinstance(node.body, list) else [node.body]
            in_functions |= {id(child) for part in parts for child in ast.walk(part)}
    kinds = ast.Import | ast.ImportFrom | ast.Call
    return ast.Module(
        [n for n in running_nodes(tree) if isinstance(n, kinds) and id(n) not in in_functions], []
    )


GRAPH = {module: imports(TREES[file]) & set(MODULES) for module, file in MODULES.items()}


@cache
def reachable(module: str) -> set[str]:
    seen, waiting = set(), [module]
    while waiting:
        for name in GRAPH[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


@cache
def floor(module: str) -> int | None:
    """The line of ORDER that a module stands in: that of the longest name it begins with."""
    parts = module.split(".")[1:]
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    lines = [number for name in names for number, line in enumerate(ORDER) if name in line]
    return lines[0] if lines else None


each_with_a_floor = for_each([module for module in MODULES if floor(module) is not None])


def test_the_order_names_all_modules_and_no_others():
    assert set().union(*ORDER) <= {module.partition(".")[2] for module in MODULES}
    assert {module for module in MODULES if floor(module) is None} == {"arraycnn"}


@each_with_a_floor
def test_imports_run_one_way(module):
    higher = {
        name
        for name in reachable(module)
        if floor(name) is not None and floor(name) > floor(module)
    }
    assert higher == set()


@for_each(MODULES)
def test_no_module_reaches_itself(module):
    assert module not in reachable(module)


@each_with_a_floor
def test_the_parts_do_not_import_the_public_face(module):
    assert "arraycnn" not in GRAPH[module]


@each_file
def test_only_one_door_to_the_array_api(file):
    found = libraries(imports(TREES[file])) & {"array_api_compat", "array_api_extra"}
    assert not found or file in ARRAY_API


@each_file
def test_cupy_is_imported_in_its_files_only(file):
    assert file in CUPY or not libraries(imports(TREES[file])) & {"cupy", "cupyx"}


@each_file
def test_optional_libraries_are_imported_inside_functions_only(file):
    outside = at_module_level(TREES[file])
    # Code is written through llvmlite, and a class has its bases, as their module is read: these
    # modules are themselves imported in functions.
    allowed = {"sklearn"} if file.startswith("estimator/") else set()
    if file.startswith(("ops/compiled/", "program/render/")):
        allowed = {"llvmlite"}
    assert not libraries(imports(outside)) & OPTIONAL - allowed


def distributions(requirements: list[str]) -> set[str]:
    """The names of what is required, as packages are compared."""
    names = (re.match(r"[\w.-]+", one)[0] for one in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


@cache
def modules_of(names: frozenset[str]) -> set[str]:
    """What is imported of the installed distributions of these names."""
    found = metadata.packages_distributions().items()
    return {module for module, of in found if distributions(of) & names}


PROJECT = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
EVERYWHERE = frozenset(distributions(PROJECT["dependencies"] + EXTRAS["test"]))
TEST_FILES = {path.relative_to(TESTS).as_posix(): path for path in sorted(TESTS.rglob("*.py"))}
LOCAL = {path.stem for path in TEST_FILES.values()} | {path.name for path in TESTS.iterdir()}
LOCAL |= {path.stem for path in (TESTS.parent / "bench").glob("*.py")}
# What atheris itself starts, and no test imports.
TEST_FILES.pop("fuzz/worker.py")


@for_each(TEST_FILES)
def test_tests_can_be_read_where_only_the_extra_test_is_installed(file):
    outside = at_module_level(ast.parse(TEST_FILES[file].read_text("utf-8")))
    allowed = {"arraycnn", *sys.stdlib_module_names, *LOCAL, *modules_of(EVERYWHERE)}
    assert not libraries(imports(outside)) - allowed, "import it in the test; see tests/optional.py"
    # A skip of a whole file, too, would leave it out of collection.
    called = {ast.unparse(node.func) for node in ast.walk(outside) if isinstance(node, ast.Call)}
    assert not {name for name in called if re.search(r"importorskip|import_optional", name)}


def test_what_the_two_passes_watch_for_is_every_other_package():
    others = distributions([one for name, of in EXTRAS.items() if name != "test" for one in of])
    # Tools of their own, which no test imports; "arraycnn" is an extra that names others.
    others -= EVERYWHERE | {
        "ruff",
        "mypy",
        "atheris",
        "nvidia-cuda-nvrtc",
        "nvidia-cuda-nvdisasm",
        "cuda-toolkit",
        "mpich",
        "arraycnn",
    }
    imported = modules_of(frozenset(others)) & OPTIONAL | passes.OPTIONAL
    assert imported == passes.OPTIONAL
    named = {name.removeprefix("cupy-").replace("scikit-learn", "sklearn") for name in others}
    assert named - {"cuda12x", "cuda13x"} <= passes.OPTIONAL


@each_file
def test_only_the_command_line_shows_anything(file):
    if file.startswith("cli"):
        return
    calls = [node.func for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)]
    assert not [call for call in calls if ast.unparse(call) == "print"]
    text = FILES[file].read_text("utf-8")
    assert not [stream for stream in ("sys.stdout", "sys.stderr") if stream in text]
    assert not libraries(imports(TREES[file])) & {"click", "rich"}


def kinds_of_sources() -> set[str]:
    """Names of `ImageSource` and of every class that derives from it, by whatever detour."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    kinds, found = set(), {"ImageSource"}
    while found:
        kinds |= found
        found = {name for name, of in bases.items() if of & kinds} - kinds
    return kinds


def questions(tree: ast.AST) -> list[str]:
    """Where ``tree`` asks of which class something is: isinstance, issubclass, type, or a match."""
    asked = []
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "isinstance",
            "issubclass",
        )
        is_type = isinstance(node, ast.Compare) and any(
            isinstance(part, ast.Name) and part.id == "type" for part in ast.walk(node)
        )
        if is_call or is_type or isinstance(node, ast.MatchClass):
            asked.append(ast.unparse(node))
    return asked


def test_only_where_images_come_in_it_is_asked_what_they_are():
    kinds = kinds_of_sources()
    assert {"ArraySource", "MappedImages", "PictureSource", "BatchImages"} <= kinds
    about = [
        (file, text)
        for file, tree in TREES.items()
        for text in questions(tree)
        if set(re.findall(r"\w+", text)) & kinds
    ]
    assert about == [("data/image_source.py", "isinstance(images, ImageSource)")]


@each_file
def test_files_are_short(file):
    assert len(FILES[file].read_text("utf-8").splitlines()) < 400


def public_names(file: str) -> set[str]:
    """What a package's ``__init__`` defines, or brings up from its own modules."""
    package = module_name(FILES[file])
    names = set()
    for node in TREES[file].body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"{package}."):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


# The commands of the command line are public to its users only, not to programs.
PACKAGES_WITH_ALL = [
    file
    for file, path in FILES.items()
    if path.name == "__init__.py" and "__all__" in path.read_text() and not file.startswith("cli/")
]


@pytest.mark.parametrize("file", PACKAGES_WITH_ALL)
def test_all_is_exact(file):
    module = importlib.import_module(module_name(FILES[file]))
    assert len(module.__all__) == len(set(module.__all__))
    assert set(module.__all__) == public_names(file)
    for name in module.__all__:
        assert hasattr(module, name)


@pytest.mark.parametrize(
    "package",
    ["", "backends/", "data/", "execution/", "export/", "layers/", "ops/", "profiling/", "report/"],
)
def test_packages_declare_what_is_public(package):
    assert f"{package}__init__.py" in PACKAGES_WITH_ALL


def test_importing_the_package_imports_nothing_optional():
    program = "import sys, arraycnn; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert "arraycnn.layers.conv2d" in loaded
    assert loaded & LAZY == set()


@pytest.mark.parametrize(
    "expression",
    [
        *("networks.scratch()", "export.to_onnx", "report.examine", "scratch.Conv3x3"),
        *("data.load_dataset", "layers.LAYERS", "callbacks.Callback", "backends.BACKENDS"),
    ],
)
def test_public_modules_are_there_after_importing_the_package(expression):
    program = f"import arraycnn; assert arraycnn.{expression} is not None; assert "
    program += f"{expression.partition('.')[0]!r} in dir(arraycnn)"
    subprocess.run([sys.executable, "-c", program], check=True)
