"""report.html: one page that holds all it shows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources

from arraycnn.escaping import isolated
from arraycnn.report import sections
from arraycnn.report import sentences as words
from arraycnn.report.examination import Examination
from arraycnn.report.examined import Examined
from arraycnn.report.markup import Html, tag
from arraycnn.report.run import Run, unique_names


@dataclass(frozen=True, eq=False)
class Reported:
    """A run with what its model was found to do."""

    name: str
    run: Run
    found: Examined


def reported(pairs: Sequence[tuple[Run, Examined]]) -> list[Reported]:
    """The pairs, with names that tell the runs apart."""
    names = map(isolated, unique_names([run for run, _ in pairs]))
    return [
        Reported(name, run, replace(found, class_names=tuple(map(isolated, found.class_names))))
        for name, (run, found) in zip(names, pairs, strict=True)
    ]


def page(runs: Sequence[Reported]) -> str:
    """The whole document."""
    alone = len(runs) == 1
    title = runs[0].name if alone else f"{len(runs)} runs compared"
    contents: list[tuple[str, str]] = []
    body: list[Html] = []
    if alone:
        parts = sections.of_run(runs[0].run, runs[0].found, prefix="", level=2)
        contents = [(part.id, part.title) for part in parts]
        body = [part.html for part in parts]
    else:
        comparison = sections.comparison([(r.name, r.run, r.found) for r in runs])
        contents.append((comparison.id, comparison.title))
        body.append(comparison.html)
        for number, one in enumerate(runs, start=1):
            own = f"run-{number}"
            contents.append((own, one.name))
            parts = sections.of_run(one.run, one.found, prefix=f"{own}-", level=3)
            body.append(
                tag(
                    "section",
                    tag("h2", one.name, id=f"{own}-title"),
                    sections.opening(one.run, one.found),
                    [part.html for part in parts],
                    id=own,
                    class_="run",
                    aria_labelledby=f"{own}-title",
                )
            )
    header = tag(
        "header",
        tag("p", "arraycnn report", _subject(runs[0].run) if alone else None, class_="kicker"),
        tag("h1", title),
        sections.opening(runs[0].run, runs[0].found)
        if alone
        else tag("p", _what_is_compared(runs), class_="lead"),
    )
    navigation = tag(
        "nav",
        tag("ul", [tag("li", tag("a", text, href=f"#{place}")) for place, text in contents]),
        aria_label="Contents",
    )
    footer = tag("footer", tag("p", "Made by arraycnn report. This file needs nothing but itself."))
    return "<!DOCTYPE html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"{title}: arraycnn report"),
            # Browsers ask for an icon otherwise.
            tag("link", rel="icon", href="data:,"),
            tag("style", Html(_style())),
        ),
        tag(
            "body",
            tag("a", "Skip to the report", href="#report", class_="skip"),
            header,
            navigation,
            tag("main", body, id="report", tabindex="-1"),
            footer,
        ),
        lang="en",
    )


def _subject(run: Run) -> str:
    """· basic on digits, where the run says so."""
    network, dataset = run.config.get("network"), run.config.get("dataset")
    return f" · {network} on {dataset}" if network and dataset else ""


def _what_is_compared(runs: Sequence[Reported]) -> str:
    sets = {(one.run.config.get("dataset"), one.found.total) for one in runs}
    if len(sets) > 1:
        return "They were measured on different test images, so their accuracies do not compare."
    of_classes = [(one.name, one.found) for one in runs if isinstance(one.found, Examination)]
    if len(of_classes) < len(runs):
        return f"They were measured on {runs[0].found.total:,} test images."
    name, found = max(of_classes, key=lambda one: one[1].accuracy)
    right = words.percent(found.accuracy, 2)
    return f"Most accurate is {name}, with {right} of {found.total:,} test images right."


def _style() -> str:
    return resources.files("arraycnn.report").joinpath("page.css").read_text("utf-8")
