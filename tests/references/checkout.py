"""A copy of the checkout that a test may build in or change, and what is built and installed."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("hcl_jax", "theory", "scripts", "tests", "docs", "benchmarks", "examples", ".ci")


def copy_checkout(to, folders=FOLDERS):
    """Copies these folders and the files beside them, without what tests and builds leave."""
    to.mkdir(parents=True)
    left_out = shutil.ignore_patterns(
        "__pycache__", "*.pyc", "*.egg-info", "generated", "benchmarks"
    )
    for folder in folders:
        shutil.copytree(ROOT / folder, to / folder, ignore=left_out)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":  # a file in a worktree
            shutil.copy(path, to)
    return to


def succeed(*command, **options):
    """What a command prints, which must end well."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert not ran.returncode, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def build(folder):
    """A copy of the checkout, the source distribution built of it, and the wheel built of that."""
    checkout = copy_checkout(folder / "checkout")
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, checkout)
    [sdist], [wheel] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return checkout, sdist, wheel


def install(wheel, environment):
    """The Python of a new environment with the wheel and this one's dependencies."""
    succeed(sys.executable, "-m", "venv", "--without-pip", environment)
    paths = {"base": str(environment), "platbase": str(environment)}
    packages = sysconfig.get_path("purelib", vars=paths)
    with zipfile.ZipFile(wheel) as archive:  # which is how a pure wheel is installed
        archive.extractall(packages)
    # The dependencies of this environment, without its editable packages.
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    with open(f"{packages}/dependencies.pth", "w") as file:
        file.write("\n".join(sorted(dependencies)))
    return environment / "bin" / "python"
