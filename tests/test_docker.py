"""The container files name what is there: paths, extras, environment variables."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
SOURCES = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
OF_LIBRARIES = {  # which CuPy, the driver, matplotlib and the container runtime read
    *("CUPY_CACHE_DIR", "CUDA_CACHE_PATH", "MPLCONFIGDIR"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "PYTHONUNBUFFERED", "PATH"),
}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_what_is_copied_is_there_and_not_ignored(file):
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", file.read_text(), re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert set(paths) == set(kept)
    assert all((ROOT / path).exists() for path in paths)
    used = {"pyproject.toml", project()["readme"], *project()["license-files"]}
    assert all(path in paths or path.startswith("src/") for path in used)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_extras_variables_and_command_exist(file):
    text = file.read_text()
    extras = re.search(r'"\.\[(.+)\]"', text)[1]
    for version in ("12", "13"):
        chosen = extras.replace("${CUDA}", version).split(",")
        assert set(chosen) <= set(project()["optional-dependencies"])
    variables = set(re.findall(r"^(?:ENV|   ) ?([A-Z_]+)=", text, re.MULTILINE))
    for name in variables - OF_LIBRARIES:
        assert f'"{name}"' in SOURCES, name
    (entry,) = re.findall(r'^ENTRYPOINT \["(.+)"\]$', text, re.MULTILINE)
    assert entry in project()["scripts"]
    assert re.search(r"^USER [1-9]\d*$", text, re.MULTILINE)


def test_every_volume_is_explained_and_belongs_to_everyone():
    for file in FILES:
        text = file.read_text()
        volumes = re.findall(r'"(/[a-z/]+)"', re.search(r"^VOLUME (.+)$", text, re.MULTILINE)[1])
        owned = re.search(r"install -d -m 1777 (.+)$", text, re.MULTILINE)[1].split()
        assert volumes == ["/data", "/work/runs", "/cache"]
        assert set(volumes) <= set(owned)
        for volume in volumes:
            assert f"| `{volume}` |" in (DOCKER / "README.md").read_text()


def test_the_readme_builds_these_files():
    built = re.findall(r"^docker build -f (\S+)", (DOCKER / "README.md").read_text(), re.MULTILINE)
    assert {ROOT / path for path in built} == set(FILES)
