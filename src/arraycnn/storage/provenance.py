"""Where results come from: versions of what ran, and the commit of this package where known."""

import json
import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path


def versions(*packages: str) -> dict[str, str]:
    """Versions of this package, of Python, NumPy, llvmlite and ``packages``, of those installed."""
    found = {"python": platform.python_version()}
    for package in ("arraycnn", "numpy", "llvmlite", *packages):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def source_commit() -> str | None:
    """The git commit this package was installed or is run from, "+" behind it if changed since.

    None where nothing says: it was installed from a release, or git is not there.
    """
    return _installed_commit() or checked_out_commit(Path(__file__).parent.parent / "__init__.py")


def checked_out_commit(file: Path) -> str | None:
    """The commit of the checkout that tracks ``file``, "+" behind it if its folder was changed.

    A package inside a virtual environment inside somebody's repository is not tracked by it.
    """
    if _git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = _git(file.parent, "rev-parse", "HEAD")
    changed = _git(file.parent, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+" if commit and changed else commit


def _installed_commit() -> str | None:
    """What pip records (PEP 610) of an installation from a repository."""
    with suppress(metadata.PackageNotFoundError, ValueError, AttributeError):
        recorded = metadata.distribution("arraycnn").read_text("direct_url.json")
        commit = json.loads(recorded or "{}").get("vcs_info", {}).get("commit_id")
        return commit if isinstance(commit, str) else None
    return None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in ``folder``; None where it fails or is missing."""
    # Inside a hook of another repository, these would name that one.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
