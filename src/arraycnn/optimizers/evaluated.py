"""Which parameters a network is evaluated with, where these are not the ones that are trained."""

from typing import NamedTuple

from arraycnn.tree import Tree, flatten, part_of, replaced

EVALUATED = "evaluated"
"""Where an optimizer's state has parameters by their paths: these are evaluated instead.

`arraycnn.Model` shows, predicts with, exports and saves what `evaluated` gives; a training goes on from
what is trained.
"""


def evaluated(params: Tree, optimizer_state: Tree) -> Tree:
    """``params`` as they are evaluated: those of the optimizer's state in the place of their own."""
    return replaced(params, optimizer_state.get(EVALUATED, {}))


class Apart(NamedTuple):
    """What a file holds of a training beside the parameters that are evaluated.

    Attributes
    ----------
    optimizer_state : tree
        Without those parameters.
    trained : tree
        The parameters that are trained, where others are evaluated.
    """

    optimizer_state: Tree
    trained: Tree


def taken_apart(params: Tree, optimizer_state: Tree) -> Apart:
    """Of the parameters that are trained; the evaluated ones are those of `evaluated`."""
    rest = {name: tree for name, tree in optimizer_state.items() if name != EVALUATED}
    paths = flatten(optimizer_state.get(EVALUATED, {}))
    return Apart(rest, part_of(params, paths.__contains__))


def put_together(evaluated_params: Tree, apart: Apart) -> tuple[Tree, Tree]:
    """(parameters that are trained, optimizer state), of what `taken_apart` gave."""
    if not apart.trained:
        return evaluated_params, apart.optimizer_state
    kept = part_of(evaluated_params, flatten(apart.trained).__contains__)
    return replaced(evaluated_params, apart.trained), {**apart.optimizer_state, EVALUATED: kept}
