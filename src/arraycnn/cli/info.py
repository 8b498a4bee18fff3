"""arraycnn info."""

from dataclasses import asdict

import click

from arraycnn.backends import available_backends
from arraycnn.cli import options
from arraycnn.cli.console import show, show_json
from arraycnn.storage import provenance

_PACKAGES = ("array-api-compat", "array-api-extra", "mnist", "click", "rich", "threadpoolctl")


@click.command()
@options.as_json
@options.debug
def info(as_json: bool) -> None:
    """Versions, and every backend: usable, or why not."""
    versions = provenance.versions(*_PACKAGES)
    backends = available_backends()
    if as_json:
        show_json({"versions": versions, "backends": [asdict(backend) for backend in backends]})
        return
    for package, version in versions.items():
        show(f"{package:<18}{version}")
    show("")
    for backend in backends:
        show(f"{backend.name:<18}{'usable' if backend.usable else 'not usable'}: {backend.detail}")
