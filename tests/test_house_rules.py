"""Rules nobody has to remember: imports flow one way, public functions are documented alike."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for package in ("hcl_jax", "theory", "scripts") for path in (ROOT / package).rglob("*.py")
)
LEAVES = {
    *(
        "data",
        "augmentation",
        "convolutions",
        "heads",
        "models",
        "normalization",
        "hardening",
        "psi",
        "geometry",
    ),
    *("evaluation", "pairs", "pixels", "encoders"),
}
AUGMENTATIONS = {"crops", "colors", "blur"}
NETWORKS = {f"hcl_jax.{name}" for name in ("convolutions", "heads", "models", "resnets")}
TRAINING = {
    f"hcl_jax.{name}" for name in ("program", "training", "gradients", "embedding", "export")
}
FORBIDDEN_NAMES = {
    *("utils", "util", "helpers", "helper", "common", "misc", "core", "base"),
    *("manager", "factory", "registry"),
}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path):
    """The project's modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("hcl_jax", "theory", "scripts")}


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_flow_one_way(path):
    name, imported = module_name(path), imports_of(path)
    package = name.split(".")[0]
    if package != "scripts":
        assert not [i for i in imported if i.startswith("scripts")], "nothing imports scripts"
    if package == "hcl_jax":
        assert not [i for i in imported if i.startswith("theory")]
    if package == "theory":
        assert not [i for i in imported if re.match(r"hcl_jax\.(program|training|export)", i)]
        assert not imported & NETWORKS
    if package == "hcl_jax" and name.removeprefix("hcl_jax.") in LEAVES:
        own = {i.split(".")[1] for i in imported if i.count(".") >= 1}
        own -= {"heads", "convolutions"} if name in NETWORKS else set()
        assert own <= {"validation"}, f"{name} is a leaf"
    if package == "hcl_jax" and name.removeprefix("hcl_jax.") in AUGMENTATIONS:
        own = {i.split(".")[1] for i in imported if i.count(".") >= 1}
        assert own <= {"validation", "augmentation"}, f"{name} is an augmentation"


def test_only_training_and_export_know_the_networks():
    for path in (ROOT / "hcl_jax").glob("*.py"):
        if module_name(path) not in TRAINING | NETWORKS:
            assert not imports_of(path) & NETWORKS, path


def test_only_the_networks_know_flax():
    for path in SOURCES:
        if re.search(r"^\s*(from|import) flax", path.read_text(), re.MULTILINE):
            assert module_name(path) in NETWORKS


def test_file_names_say_something():
    assert not [path for path in SOURCES if path.stem in FORBIDDEN_NAMES]


def public_functions():
    for path in (ROOT / "hcl_jax").rglob("*.py"):
        module = importlib.import_module(module_name(path))
        for name, function in vars(module).items():
            own = getattr(function, "__module__", None) == module.__name__
            if own and callable(function) and not inspect.isclass(function) and name[0] != "_":
                yield pytest.param(function, id=f"{module.__name__}.{name}")


FUNCTIONS = list(public_functions())


def test_there_are_functions_to_check():
    assert len(FUNCTIONS) > 50


@pytest.mark.parametrize("function", FUNCTIONS)
def test_public_functions_are_documented_and_annotated(function):
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
    assert signature.return_annotation is not inspect.Signature.empty
    text = inspect.getdoc(function)
    assert text
    assert re.match(r"\S[^\n]*[.:]\n|\S[^\n]*[.:]$|\S[^\n]*\n\S", text), "one line first"
    if function.__module__ == "hcl_jax.validation" or function.__name__.startswith("check_"):
        return
    assert "Returns:" in text or signature.return_annotation is None
    assert ">>>" in text, "an example that runs"
    for name, parameter in signature.parameters.items():
        shown = f"**{name}" if parameter.kind is parameter.VAR_KEYWORD else name
        shown = f"*{name}" if parameter.kind is parameter.VAR_POSITIONAL else shown
        assert f"{shown}:" in text, f"{name} is not described"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keys_come_first_and_options_by_keyword(function):
    parameters = list(inspect.signature(function).parameters.values())
    names = [parameter.name for parameter in parameters]
    if "key" in names and parameters[names.index("key")].kind is not inspect.Parameter.KEYWORD_ONLY:
        assert names[0] == "key"
    options = [p for p in parameters if isinstance(p.default, bool)]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in options), "flags by keyword"
