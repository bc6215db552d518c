"""What is built: a wheel with the library alone, and a source distribution that tests itself."""

import ast
import re
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes

import pytest
from references.checkout import FOLDERS, ROOT, build, install, succeed

import hcl_jax

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAPER = {
    "title": "Hard-Negative Sampling for Contrastive Learning: Optimal Representation Geometry "
    "and Neural- vs Dimensional-Collapse",
    "url": "https://arxiv.org/abs/2311.05139",
    "authors": ["Ruijie Jiang", "Thuan Nguyen", "Shuchin Aeron", "Prakash Ishwar"],
}
IMPORT_NAMES = {
    "orbax-checkpoint": "orbax",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "python-flint": "flint",
    "vl-convert-python": "vl_convert",
    "markdown-it-py": "markdown_it",
    "mdit-py-plugins": "mdit_py_plugins",
}

USE = """
import sys
import hcl_jax, jax.numpy as jnp
from importlib.metadata import version
from pathlib import Path

assert version("hcl-jax") == hcl_jax.__version__
assert Path(hcl_jax.__file__).is_relative_to(sys.prefix), hcl_jax.__file__
assert (Path(hcl_jax.__file__).parent / "py.typed").exists()
z = jnp.eye(4)[jnp.array([0, 0, 1, 1])]
print(float(hcl_jax.hscl(z, jnp.array([0, 0, 1, 1]), beta=5.0)))
for name in ("scripts", "theory", "tests"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"the wheel brings a package {name}")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The checkout, and the source distribution and the wheel that `python -m build` makes of it.

    The wheel is built from the source distribution.
    """
    checkout, sdist, wheel = build(tmp_path_factory.mktemp("built"))
    files = {p.relative_to(checkout).as_posix() for p in checkout.rglob("*") if p.is_file()}
    return files - {n for n in files if n.startswith("hcl_jax.egg-info/")}, sdist, wheel


def test_the_wheel_is_the_library_alone_with_its_types(built):
    files, _, wheel = built
    inside = set(zipfile.ZipFile(wheel).namelist())
    library = {name for name in inside if ".dist-info/" not in name}
    assert library == {name for name in files if name.startswith("hcl_jax/")}
    assert "hcl_jax/py.typed" in library
    with zipfile.ZipFile(wheel) as archive:
        [entries] = [n for n in inside if n.endswith("entry_points.txt")]
        assert archive.read(entries).split() == [
            *(b"[console_scripts]", b"hcl-measure", b"=", b"hcl_jax.measure:main")
        ]


def test_the_source_distribution_has_every_file_of_the_checkout(built):
    files, sdist, _ = built
    with tarfile.open(sdist) as archive:
        inside = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert files <= inside
    made = ("PKG-INFO", "setup.cfg", "hcl_jax.egg-info/")
    assert not [name for name in inside - files if not name.startswith(made)]


def test_everything_under_version_control_is_built_and_tested():
    """The control of the test above: no folder is left out of the copy that is built."""
    if not (ROOT / ".git").exists():
        pytest.skip("there is no repository here")
    listed = succeed("git", "-C", ROOT, "ls-files", "--cached", "-z").split("\0")
    present = {name for name in listed if name and (ROOT / name).exists()}
    beside = {name for name in present if "/" not in name}
    assert present - beside == {n for n in present if n.split("/")[0] in FOLDERS}


def test_the_metadata_say_who_and_where(built):
    _, _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        found = message_from_bytes(archive.read(name))
    assert found["Author"] == "hcl-jax developers"
    assert found.get_all("Project-URL") == [f"Paper, {PAPER['url']}"]
    assert found["License-Expression"] == "Apache-2.0"
    required = found.get_all("Requires-Dist")
    of_commands = {re.match(r"[\w-]+", r)[0] for r in required if 'extra == "scripts"' in r}
    of_reports = {"jinja2", "markupsafe", "altair", "vl-convert-python", "pillow"}
    assert of_commands == {"matplotlib", "tyro", "tensorboardX"} | of_reports
    always = {re.match(r"[\w-]+", r)[0] for r in required if "extra ==" not in r}
    assert always & of_commands == set()
    assert "jax" in always


def packages_of(requirements):
    names = (re.match(r"[\w-]+", requirement)[0] for requirement in requirements)
    return {IMPORT_NAMES.get(name, name) for name in names}


def imported_by(folder):
    """The top-level packages that the files of a folder import, wherever in the file."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"hcl_jax", "theory", "scripts"}


def test_what_is_imported_is_what_is_required():
    core, extras = packages_of(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    always = core - {"flatbuffers"}  # which jax.export imports
    images = packages_of(extras["huggingface"]) & packages_of(extras["tfds"])
    assert images == {"PIL"}
    assert imported_by("hcl_jax") == always | images | packages_of(extras["measure"])
    of_commands = packages_of(extras["scripts"])
    optional = {"torch", "pytorch_metric_learning", "lightly", "tensorflow_datasets", "PIL"}
    optional |= packages_of(extras["theory"])
    through_the_library = {"jinja2"}  # hcl_jax.system.pages
    used = imported_by("scripts") | through_the_library
    assert of_commands <= used <= core | of_commands | optional


def citation():
    """CITATION.cff as lines of the software, and those of the paper."""
    text = (ROOT / "CITATION.cff").read_text()
    software, paper = text.split("preferred-citation:\n")
    assert not re.search(r"^\t|: +$", text, re.MULTILINE)
    return software, paper


def value_of(key, text):
    [value] = re.findall(rf"^ *{key}: (.*)$", text, re.MULTILINE)
    return value.strip('"')


def test_the_citation_is_of_this_version_and_of_the_paper():
    software, paper = citation()
    assert value_of("cff-version", software) == "1.2.0"
    assert value_of("title", software) == PROJECT["name"]
    assert value_of("version", software) == hcl_jax.__version__
    assert value_of("license", software) == PROJECT["license"]
    assert f"- name: {PROJECT['authors'][0]['name']}\n" in software
    assert value_of("title", paper) == PAPER["title"]
    assert value_of("url", paper) == PAPER["url"] == PROJECT["urls"]["Paper"]
    assert value_of("value", paper) == "arXiv:2311.05139"
    given = re.findall(r"^    - given-names: (\w+)\n      family-names: (\w+)$", paper, re.M)
    assert [" ".join(names) for names in given] == PAPER["authors"]


def test_messages_of_the_library_do_not_speak_of_a_checkout(built):
    _, _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        texts = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".py")}
    assert not [name for name, text in texts.items() if "pip install -e" in text]


def test_the_wheel_computes_a_loss_where_there_is_no_checkout(built, tmp_path):
    _, _, wheel = built
    python = install(wheel, tmp_path / "venv")
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/nowhere"}
    value = succeed(python, "-c", USE, cwd=tmp_path, env=environment)
    assert abs(float(value) - 0.3132616875) < 1e-6  # log(1 + exp(-1)), whatever the hardness


@pytest.mark.slow
def test_the_source_distribution_tests_itself(built, tmp_path):
    _, sdist, _ = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [folder] = tmp_path.iterdir()
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    succeed(*pytest_, "--collect-only", cwd=folder)
    some = ("theory/test_theory_models.py", "scripts/test_benchmarks.py", "test_documentation.py")
    succeed(*pytest_, *(f"tests/{name}" for name in some), cwd=folder)
