"""What is built: a wheel with the library alone, and a source distribution that tests itself."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest
from references.checkout import copy_checkout

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


def succeed(*command, **options):
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not ran.returncode, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The checkout, and the source distribution and the wheel that `python -m build` makes of it.

    The wheel is built from the source distribution.
    """
    folder = tmp_path_factory.mktemp("built")
    checkout = copy_checkout(folder / "checkout")
    files = {p.relative_to(checkout).as_posix() for p in checkout.rglob("*") if p.is_file()}
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return files, sdist, wheel


def test_the_wheel_is_the_library_alone_with_its_types(built):
    files, _, wheel = built
    inside = set(zipfile.ZipFile(wheel).namelist())
    library = {name for name in inside if ".dist-info/" not in name}
    assert library == {name for name in files if name.startswith("hcl_jax/")}
    assert "hcl_jax/py.typed" in library
    assert not [name for name in inside if name.endswith("entry_points.txt")]


def test_the_source_distribution_has_every_file_of_the_checkout(built):
    files, sdist, _ = built
    with tarfile.open(sdist) as archive:
        inside = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    assert files <= inside
    made = ("PKG-INFO", "setup.cfg", "hcl_jax.egg-info/")
    assert not [name for name in inside - files if not name.startswith(made)]


def test_messages_of_the_library_do_not_speak_of_a_checkout(built):
    _, _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        texts = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".py")}
    assert not [name for name, text in texts.items() if "pip install -e" in text]


def test_the_wheel_computes_a_loss_where_there_is_no_checkout(built, tmp_path):
    _, _, wheel = built
    succeed(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    paths = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    packages = sysconfig.get_path("purelib", vars=paths)
    with zipfile.ZipFile(wheel) as archive:  # which is how a pure wheel is installed
        archive.extractall(packages)
    # The dependencies of this environment, without its editable packages.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    with open(f"{packages}/dependencies.pth", "w") as file:
        file.write("\n".join(sorted(dependencies)))
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
