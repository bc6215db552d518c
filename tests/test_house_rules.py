"""Rules nobody has to remember: imports flow one way, what is exported is documented alike."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hcl_jax

ROOT = Path(__file__).parent.parent
FORBIDDEN_NAMES = {
    *("utils", "util", "helpers", "helper", "common", "misc", "core", "base"),
    *("manager", "factory", "registry"),
}

CLAIMS = " ".join(
    path.stem for path in (ROOT / "theory" / "claims").glob("*.py") if path.stem != "__init__"
)
"""The claims, none of which imports another."""

LAYERS = {
    "": ("hcl_jax", "theory", "scripts"),
    "hcl_jax": (
        "validation padding precision system",
        "pair_rules views_axis hardening psi normalization geometry evaluation data augmentation "
        "networks checkpoints",
        "own_pair_rules false_negatives hardness",
        "pair_rows",
        "pairs",
        "losses encoders",
        "collectives batch_warnings meshes reports",
        "conventions",
        "dispatch options",
        "batch_rows",
        "objectives",
        "named_losses parallel",
        "training",
        "measure",
    ),
    "hcl_jax.validation": ("concrete wording", "arrays options", "numbers images", "batches"),
    "hcl_jax.system": (
        "counting",
        "atomic_files command_output help_screen json_files locking pages paths processes progress",
        "command_line preemption",
    ),
    "hcl_jax.geometry": (
        "_checks _pseudo_inverse _gram_programme",
        "classes simplex shrunk_frames unequal_priors minority_collapse",
        "hypersphere spectrum separation",
        "escape summary",
        "streamed_geometry",
        "accumulator",
    ),
    "hcl_jax.evaluation": ("_checks", "class_mean neighbours linear_probe"),
    "hcl_jax.data": (
        "splits splitting square_images balanced_batches indexed_rows npz_arrays",
        "decoding",
        "bundled synthetic image_sets image_lists instructions streaming",
        "array_records image_folder idx_files squares",
        "own_splits emnist_splits",
        "own_folders hugging_face npz_sets",
        "tfds_directory",
        "tfds_sets own_tfds",
    ),
    "hcl_jax.augmentation": ("pixels transforms", "crops colors blurring", "recipes"),
    "hcl_jax.networks": (
        "model heads kernel_gradients batch_norm",
        "winograd few_channels",
        "convolutions",
        "small",
        "residual",
    ),
    "hcl_jax.checkpoints": ("tree_spec checksums arrays", "directory", "restoring", "checkpoints"),
    "hcl_jax.losses": (
        "_checks pair_statistics tilted_infonce _guide_tables _reverse_mode _linear_maps "
        "_chosen_leaves",
        "_functions anchor_losses",
        "_derivatives",
        "_differentiable_once",
        "dense _sampled_pairs _blockwise",
        "_sampling_hyperparameters",
        "_sampling",
        "contrastive sampled summary",
        "sharded",
    ),
    "hcl_jax.losses._blockwise": (
        "block tiles options exchange",
        "counting negatives positives",
        "gradients runs",
        "hyperparameters",
        "vjp",
        "sets",
        "sharded two_sets one_tile pallas",
        "loss",
    ),
    "hcl_jax.losses._blockwise.pallas": ("lanes", "forward backward"),
    "hcl_jax.encoders": ("reader", "export"),
    "hcl_jax.parallel": ("global_loss",),
    "hcl_jax.measure": (
        "extras",
        "arrays",
        "class_names tables",
        "hints",
        "choosing",
        "passes objective verdict",
        "findings",
        "text pictures",
        "page",
        "command",
        "__main__",
    ),
    "hcl_jax.training": (
        "program targets microbatches",
        "states batch_loss embedding",
        "batch_order",
        "updates",
        "runner non_finite",
        "epochs",
        "fitting",
    ),
    "theory": (
        "checking model open_questions",
        "optimum exact escape priors",
        "limit_values free_features trained",
        "evaluation",
        "claims",
    ),
    "theory.checking": ("boxes verdicts", "claim", "tally", "z_scores"),
    "theory.model": (
        "rationals multisets gaussian_model",
        "kinds",
        "psi_kinds eta_kinds latent_classes",
        "simplex model_files sampling",
        "random_models",
        "broken_hypotheses",
    ),
    "theory.optimum": (
        "collapsed_loss random_batches",
        "floor floor_by_slope profile",
        "floor_of_models threshold",
    ),
    "theory.escape": ("matrix", "frames paley"),
    "theory.priors": ("limit minority programme", "thresholds"),
    "theory.exact": ("balls batches bounds float64 tuple_laws view_batches", "lower_bounds"),
    "theory.free_features": ("minimisation trajectories", "predictions"),
    "theory.trained": ("perceptron",),
    "theory.claims": (CLAIMS,),
    "scripts": (
        "data_preparation",
        "experiments",
        "runs theory_report",
        "benchmarking run_report",
        "reproduce train sweep report export prepare_data verify_theory "
        "benchmark_losses benchmark_training benchmark_convolutions benchmark_evaluation "
        "benchmark_views "
        "compile_for_tpu compile_experiments",
    ),
    "scripts.experiments": (
        "options own_data",
        "networks",
        "datasets",
        "fields",
        "experiment",
        "used paper",
        "program",
        "catalogue",
    ),
    "scripts.runs": (
        "exit_status kept_programs markdown metrics provenance",
        "runtime run_files tables",
        "evaluation progress figures run_directory listing exported",
        "non_finite resuming runners",
        "loop",
        "side_by_side",
    ),
    "scripts.run_report": ("reading predictions", "charts trained", "grams", "page"),
    "scripts.benchmarking": (
        "hlo_text",
        "contenders convolution_shapes results targets host_work machine_load training_cases",
        "resnets_torch small_networks_torch",
        "losses_jax losses_report losses_torch training_jax training_report tpu_compilation",
        "training_torch",
    ),
    "scripts.data_preparation": ("tfds_builders whole_folders", "idx_copies unpacking"),
    "scripts.theory_report": (
        "section heartbeat formulas spreading",
        "wording",
        "findings documents escape_sections model_sections network_escape optimum_figures "
        "optimum_tables priors_sections",
        "measuring sections",
        "drawing",
        "page",
    ),
}
"""The direction of imports: of every folder its files and folders, from the lowest line up.

What stands in a line imports from the lines before it, and never from its own. What the line of a
folder says holds for all that is inside. The first line of `hcl_jax` is what the others stand on,
and no user's business.
"""


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_name(path): path
    for package in LAYERS[""]
    for path in sorted((ROOT / package).rglob("*.py"))
}
FOLDERS = {module_name(path) for path in SOURCES.values() if path.name == "__init__.py"}


@functools.cache
def tree_of(module):
    """The syntax tree of a module, read once."""
    return ast.parse(SOURCES[module].read_text())


@functools.cache
def imports_of(module):
    """The project's modules that a module imports, wherever in the file."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative name"
            whole = {f"{node.module}.{alias.name}": node.module for alias in node.names}
            found |= {name if name in SOURCES else parent for name, parent in whole.items()}
    return {name for name in found if name.split(".")[0] in LAYERS[""]}


def line_of(folder, name):
    [number] = [n for n, line in enumerate(LAYERS[folder]) if name in line.split()]
    return number


def is_upward(importing, imported):
    """Whether an import does not lead to a lower line of the smallest folder that holds both."""
    a, b = importing.split("."), imported.split(".")
    shared = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    shared = min(shared, len(b))
    if shared == len(a):
        return False  # the face of a package, which shows what is in it
    if shared == len(b):
        return True  # the face of a package that the module is in
    folder = ".".join(a[:shared])
    return line_of(folder, b[shared]) >= line_of(folder, a[shared])


def test_every_module_is_in_the_layers_once_and_nothing_else_is():
    listed = [
        f"{folder}.{name}".lstrip(".")
        for folder, lines in LAYERS.items()
        for line in lines
        for name in line.split()
    ]
    assert sorted(listed) == sorted(SOURCES)
    assert set(LAYERS) - {""} <= FOLDERS


@pytest.mark.parametrize("package", LAYERS[""])
def test_the_map_for_contributors_has_these_layers(package):
    lines = (
        ", ".join(f"`{n}{'/' * (f'{package}.{n}' in FOLDERS)}`" for n in line.split())
        for line in LAYERS[package]
    )
    assert f"| `{package}/` | {' < '.join(lines)} |" in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("module", SOURCES)
def test_imports_flow_one_way(module):
    assert not [other for other in sorted(imports_of(module)) if is_upward(module, other)]


@pytest.mark.parametrize(
    ("importing", "imported", "upward"),
    [
        ("hcl_jax.losses.dense", "hcl_jax.pairs", False),
        ("hcl_jax.pairs", "hcl_jax.losses.dense", True),
        ("hcl_jax.hardening", "hcl_jax.psi", True),
        ("hcl_jax.losses", "hcl_jax.losses.dense", False),
        ("hcl_jax.losses.dense", "hcl_jax.losses", True),
        ("hcl_jax.losses.contrastive", "hcl_jax.losses._blockwise.loss", False),
        ("hcl_jax.losses._blockwise.loss", "hcl_jax.losses.contrastive", True),
        ("theory.claims", "hcl_jax.training", False),
        ("hcl_jax.training", "theory", True),
    ],
)
def test_upward(importing, imported, upward):
    assert is_upward(importing, imported) == upward


def all_imports_of(module):
    """What is imported where a module is: by it, by its packages, and by what they import."""
    seen, left = set(), {module}
    while left:
        name = left.pop()
        parents = {".".join(name.split(".")[:n]) for n in range(1, name.count(".") + 1)}
        seen.add(name)
        left |= (imports_of(name) | parents) - seen
    return seen


@pytest.mark.parametrize("module", ["hcl_jax", *(m for m in SOURCES if m.startswith("theory"))])
def test_losses_and_theory_know_neither_networks_nor_training(module):
    assert not [m for m in all_imports_of(module) if re.match(r"hcl_jax\.(networks|training)", m)]


def test_only_the_networks_know_flax():
    for module, path in SOURCES.items():
        if re.search(r"^\s*(from|import) flax", path.read_text(), re.MULTILINE):
            assert module.startswith("hcl_jax.networks.")


def test_theory_draws_nothing():
    for module, path in SOURCES.items():
        if module.startswith("theory."):
            assert "matplotlib" not in path.read_text()


def test_file_names_say_something():
    assert not {name.split(".")[-1] for name in SOURCES} & FORBIDDEN_NAMES


def exported(package):
    """What users type: all that a package or a module names."""
    module = importlib.import_module(package)
    return {name: getattr(module, name) for name in getattr(module, "__all__", ())}


def is_function(value):
    return inspect.isfunction(value) or hasattr(value, "__wrapped__")


def faces():
    """What users import from: the library, its folders, and the modules that it exports.

    So are the files of a folder that its face does not show, to be imported without them.
    """
    above = {f"hcl_jax.{name}" for line in LAYERS["hcl_jax"][1:] for name in line.split()}
    found = above & (FOLDERS | {f"hcl_jax.{name}" for name in exported("hcl_jax")})
    for module in SOURCES:
        folder = ".".join(module.split(".")[:2])
        if folder in found and "._" not in module and module not in all_imports_of(folder):
            found.add(module)
    return ["hcl_jax", *sorted(found)]


FACES = faces()
FUNCTIONS = {
    f"{value.__module__}.{name}": value
    for face in FACES
    for name, value in exported(face).items()
    if is_function(value)
}
ALL_FUNCTIONS = [pytest.param(value, id=name) for name, value in sorted(FUNCTIONS.items())]


def test_there_are_functions_to_check():
    assert len(FUNCTIONS) > 50


@pytest.mark.parametrize("face", FACES)
def test_a_face_lists_what_is_public_and_nothing_else(face):
    module = importlib.import_module(face)
    later = [name for name in getattr(module, "_LATER", ()) if f"{face}.{name}" in FACES]
    assert dir(module) == sorted([*exported(face), *later])
    assert exported(face)


def test_packages_that_are_imported_later_are_found_by_name():
    program = "import sys, hcl_jax; assert 'hcl_jax.data' not in sys.modules; hcl_jax.data.digits"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert all(getattr(hcl_jax, name).__name__ == f"hcl_jax.{name}" for name in hcl_jax._LATER)
    with pytest.raises(AttributeError, match="module 'hcl_jax' has no attribute 'dota'"):
        _ = hcl_jax.dota


@pytest.mark.parametrize("face", FACES)
def test_no_module_has_the_name_of_a_function_that_its_package_exports(face):
    functions = {name for name, value in exported(face).items() if is_function(value)}
    assert not [name for name in functions if f"{face}.{name}" in SOURCES]


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
def test_exported_functions_are_documented_and_annotated(function):
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
    assert signature.return_annotation is not inspect.Signature.empty
    text = inspect.getdoc(function)
    assert text
    assert re.match(r"\S[^\n]*[.:]\n|\S[^\n]*[.:]$|\S[^\n]*\n\S", text), "one line first"
    assert "Returns:" in text or signature.return_annotation is None
    assert ">>>" in text, "an example that runs"
    for name, parameter in signature.parameters.items():
        shown = f"**{name}" if parameter.kind is parameter.VAR_KEYWORD else name
        shown = f"*{name}" if parameter.kind is parameter.VAR_POSITIONAL else shown
        assert f"{shown}:" in text, f"{name} is not described"


@pytest.mark.parametrize("function", ALL_FUNCTIONS)
def test_keys_come_first_and_options_by_keyword(function):
    parameters = list(inspect.signature(function).parameters.values())
    names = [parameter.name for parameter in parameters]
    if "key" in names and parameters[names.index("key")].kind is not inspect.Parameter.KEYWORD_ONLY:
        assert names[0] == "key"
    options = [p for p in parameters if isinstance(p.default, bool)]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in options), "flags by keyword"


def definitions(module):
    """The functions and classes of a module, with the name of what is exported of it."""
    for node in tree_of(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            inner = (part for part in node.body if isinstance(part, ast.FunctionDef))
            yield from ((node.name, part) for part in inner)


EXPORTED = {
    f"{getattr(value, '__module__', None)}.{name}"
    for face in {*FACES, *FOLDERS}
    for name, value in exported(face).items()
}


@pytest.mark.parametrize("module", [m for m in SOURCES if m.startswith("hcl_jax")])
def test_what_the_library_does_not_export_is_documented_in_prose(module):
    for name, node in definitions(module):
        text = ast.get_docstring(node) or ""
        if f"{module}.{name}" not in EXPORTED:
            assert not re.search(r"^ *(Args|Returns):", text, re.MULTILINE), node.name


@pytest.mark.parametrize("module", SOURCES)
def test_every_function_has_types(module):
    for _, node in definitions(module):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None]
            assert not set(untyped) - {"self", "cls"}, node.name
            assert node.returns is not None or node.name == "__init__", node.name


ALIKE = 7
"""So many statements in a row stand in one place."""

WRITTEN_TWICE = {("hcl_jax/geometry/streamed_geometry.py", "hcl_jax/geometry/summary.py")}
"""Files that share more: two records with fields of the same names, which types have to show."""


def statements_of(path):
    """The statements of a file, a line each, without imports and documentation."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            texts = [
                s for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
            ]
            imports = [s for s in body if isinstance(s, ast.Import | ast.ImportFrom)]
            node.body = [s for s in body if s not in [*texts, *imports]] or [ast.Pass()]
    return [line.strip() for line in ast.unparse(tree).splitlines() if line.strip()]


def test_nothing_is_written_twice():
    first, twice = {}, set()
    for folder in (*LAYERS[""], "tests", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name, lines = path.relative_to(ROOT).as_posix(), statements_of(path)
            for start in range(len(lines) - ALIKE + 1):
                other = first.setdefault(tuple(lines[start : start + ALIKE]), (name, start))
                if other != (name, start):
                    twice.add((other[0], name))
    assert twice == WRITTEN_TWICE
