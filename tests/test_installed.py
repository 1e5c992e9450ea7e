"""The repository as an installed package, and as a folder without its environment."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.toy import ROOT

PACKAGES = ("pyvene_custom", "unlearn", "baselines", "grun", "rmu", "eval", "speed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel was unpacked into: nothing of the repository is on its path."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools.build_meta import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=source, check=True, capture_output=True
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    shutil.rmtree(source)
    return folder / "site"


def run(folder, *words, cwd, code=0):
    done = subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_wheel_holds_every_module_and_the_configurations(installed):
    for package in PACKAGES:
        sources = {p.relative_to(ROOT) for p in (ROOT / package).rglob("*") if p.is_file()}
        expected = {p for p in sources if "__pycache__" not in p.parts}
        found = {p.relative_to(installed) for p in (installed / package).rglob("*") if p.is_file()}
        assert expected <= {p for p in found if "__pycache__" not in p.parts}, package


def test_installed_package_works_from_any_folder(installed, tmp_path):
    """Without the repository on the path, from a folder of somebody else."""
    where = run(installed, "-c", "import grun, eval; print(grun.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed))
    assert run(installed, "-m", "unlearn.runs", "list", cwd=tmp_path).startswith("0 runs")
    git = "from unlearn.config.run_directory import provenance; print(provenance()['git'])"
    assert run(installed, "-c", git, cwd=ROOT.parent) == "None\n"


@pytest.mark.slow
def test_pip_installs_into_a_fresh_environment(tmp_path):
    """pip install -e . without the network; the packages are those of this environment."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = sysconfig.get_paths(vars={"base": str(venv)})["purelib"]
    with open(os.path.join(packages, "ours.pth"), "w") as file:
        file.write("\n".join(site.getsitepackages()))
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "build"))
    pip = [sys.executable, "-m", "pip", "--python", str(venv), "install", "-q"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, *flags, "-e", str(source)], check=True)
    for words in (["-c", "import grun; print('add')"], ["-m", "grun.requests", "--help"]):
        python = str(venv / "bin" / "python")
        done = subprocess.run([python, *words], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0 and "add" in done.stdout, done.stderr


@pytest.mark.parametrize("module", ["grun.train", "eval.report"])
def test_a_python_without_our_packages_is_told_what_to_do(module, tmp_path):
    """One line, no traceback. -S leaves out the installed packages."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", module],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    assert "has no package" in done.stderr and ".venv" in done.stderr
