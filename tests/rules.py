"""A rule for many things as one test: pytest takes some milliseconds for each, xdist as many again."""

from collections.abc import Callable, Iterable


def for_each(things: Iterable[str]) -> Callable[[Callable[[str], None]], Callable[[], None]]:
    """Makes a test of a rule for one of ``things``: looks at all, and names those that break it."""

    def made(rule: Callable[[str], None]) -> Callable[[], None]:
        def test() -> None:
            broken = []
            for thing in things:
                try:
                    rule(thing)
                except AssertionError as error:
                    broken.append(f"{thing}: {error}")
            assert not broken, "\n".join(broken)

        test.__name__, test.__doc__, test.__module__ = rule.__name__, rule.__doc__, rule.__module__
        return test

    return made
