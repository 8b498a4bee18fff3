"""Where numbers come from: versions of what ran, and the commit of this package where known."""

import json
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_PACKAGES = ("arraycnn", "numpy", "numba", "matplotlib")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages at work, by name."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def source_commit() -> str | None:
    """The git commit this package was installed or is run from, "+" behind it if changed since.

    None where nothing says: it was installed from a release, or git is not there.
    """
    return _installed_commit() or _checked_out_commit(Path(__file__).parent)


def _installed_commit() -> str | None:
    """What pip records (PEP 610) of an installation from a repository."""
    with suppress(metadata.PackageNotFoundError, ValueError, AttributeError):
        recorded = metadata.distribution("arraycnn").read_text("direct_url.json")
        commit = json.loads(recorded or "{}").get("vcs_info", {}).get("commit_id")
        return commit if isinstance(commit, str) else None
    return None


def _checked_out_commit(folder: Path) -> str | None:
    """The commit of the checkout that tracks ``folder``'s sources.

    A package inside a virtual environment inside somebody's repository is not tracked by it.
    """
    if _git(folder, "ls-files", "--error-unmatch", "provenance.py") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "..")
    return f"{commit}+" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in ``folder``; None where it fails or is missing."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
