"""Do all ranks run the same training? Looked at before the first step, and said by which it is not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from arraycnn.distributed.communicator import Communicator
from arraycnn.errors import InvalidValueError


def check_alike(communicator: Communicator, facts: Mapping[str, str]) -> None:
    """Refuse ranks whose ``facts``, settings and digests by name, are not the same.

    Raises InvalidValueError on every rank; the message names what differs, and where.
    """
    all_facts = communicator.exchange(dict(facts))
    differing = [
        f"{name} is {_by_rank([of.get(name, 'not there') for of in all_facts])}"
        for name in sorted(set().union(*all_facts))
        if len({of.get(name) for of in all_facts}) > 1
    ]
    if differing:
        message = (
            "distributed: all ranks must have the same settings, data, files and versions, but "
            f"{'; '.join(differing)}; begin all with one command, on the same files and environment"
        )
        raise InvalidValueError(message)


def _by_rank(values: list[str]) -> str:
    """ "64 on rank 0 and 32 on ranks 1 and 3"."""
    ranks: dict[str, list[str]] = defaultdict(list)
    for rank, value in enumerate(values):
        ranks[value].append(str(rank))
    return " and ".join(
        f"{value} on rank{'s' if len(who) > 1 else ''} {', '.join(who)}"
        for value, who in ranks.items()
    )
