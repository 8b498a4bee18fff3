"""Remedies of parameter groups and new heads."""

import re

import numpy as np

import arraycnn as cnn
import outside
from arraycnn import Group, ParameterGroups
from remedies import making
from remedies.following import Here, follows

_GROUPS = "optimizers/parameter_groups.py"


def _fit(*groups: Group, rule: cnn.SGD | outside.Signum = cnn.SGD(0.1)) -> None:  # noqa: B008
    making.model().fit(*making.some(), optimizer=ParameterGroups(rule, *groups))


@follows(_GROUPS, "freeze parameters with frozen=True")
def a_rate_of_zero(here: Here) -> None:
    with here.refused():
        Group("2.bias", learning_rate_scale=0.0)
    _fit(Group("2.bias", frozen=True))


@follows(_GROUPS, "set frozen, learning_rate_scale or weight_decay")
def a_group_without_settings(here: Here) -> None:
    with here.refused():
        Group("2")
    _fit(Group("2", learning_rate_scale=0.1))


@follows(_GROUPS, "write for example Group('0.*', frozen=True)")
def a_pattern_in_place_of_a_group(here: Here) -> None:
    with here.refused():
        ParameterGroups(cnn.AdamW(), "0.*")  # type: ignore[arg-type]
    ParameterGroups(cnn.AdamW(), Group("0.*", frozen=True))


@follows(_GROUPS, "leave it out of the groups")
def decay_of_an_optimizer_without(here: Here) -> None:
    with here.refused():
        _fit(Group("2.bias", frozen=True, weight_decay=0.1), rule=outside.Signum(0.1))
    _fit(Group("2.bias", frozen=True), rule=outside.Signum(0.1))


@follows(_GROUPS, "choose among {}")
def a_pattern_that_selects_nothing(here: Here) -> None:
    with here.refused():
        _fit(Group("head", frozen=True))
    (path, *_) = re.findall(r"[\w.]+", here.seen[0].partition("choose among ")[2])
    _fit(Group(path, frozen=True))


@follows(_GROUPS, "add a group with frozen=False for those to train")
def all_is_frozen(here: Here) -> None:
    with here.refused():
        _fit(Group("*", frozen=True))
    _fit(Group("*", frozen=True), Group("2.bias", frozen=False))


@follows(_GROUPS, "write {}(ParameterGroups({}, ...))")
def groups_around_a_wrapper(here: Here) -> None:
    group = Group("2.bias", frozen=True)
    with here.refused():
        ParameterGroups(cnn.EMA(cnn.SGD(0.1)), group)
    making.model().fit(*making.some(), optimizer=cnn.EMA(ParameterGroups(cnn.SGD(0.1), group)))


@follows("optimizers/wrapper.py", "write {}({}({}, ...), ...)")
def a_wrapper_around_the_outermost(here: Here) -> None:
    with here.refused():
        cnn.EMA(cnn.EMA(cnn.SGD(0.1)))
    making.model().fit(*making.some(), optimizer=cnn.EMA(cnn.SGD(0.1)))


@follows("optimizers/lookahead.py", "have {} or fewer, or more epochs or smaller batches")
def a_training_too_short_for_slow_weights(here: Here) -> None:
    (images, labels), rule = making.some(), cnn.Lookahead(cnn.SGD(0.1), 5)
    with here.refused():
        making.model().fit(images, labels, batch_size=len(labels), optimizer=rule)
    (steps,) = re.findall(r"have (\d+) or fewer", here.seen[-1])
    fewer = cnn.Lookahead(cnn.SGD(0.1), int(steps))
    making.model().fit(images, labels, batch_size=len(labels), optimizer=fewer)
    making.model().fit(images, labels, batch_size=len(labels), epochs=5, optimizer=rule)
    making.model().fit(images, labels, batch_size=2, optimizer=rule)


@follows("optimizers/schedules.py", "have fewer or none, or more epochs or smaller batches")
def a_training_too_short_for_its_rate_to_rise(here: Here) -> None:
    images, labels = making.some()

    def fit(rate: float | cnn.Warmup, **settings: int) -> None:
        given = {"batch_size": len(labels), "epochs": 4} | settings
        making.model().fit(images, labels, optimizer=cnn.SGD(rate), **given)

    with here.refused():
        fit(cnn.Warmup(0.1, 4))
    fit(cnn.Warmup(0.1, 3))
    fit(0.1)
    fit(cnn.Warmup(0.1, 4), epochs=5)
    fit(cnn.Warmup(0.1, 4), batch_size=2)


@follows("optimizers/schedules.py", "write for example Cosine(0.1), with parentheses")
def the_class_of_a_schedule(here: Here) -> None:
    with here.refused():
        cnn.SGD(cnn.Cosine)  # type: ignore[arg-type]
    making.model().fit(*making.some(), optimizer=cnn.SGD(cnn.Cosine(0.1)))


@follows("model/inputs.py", "write for example [EarlyStopping(5)]")
def a_callback_alone(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        making.model().fit(images, labels, callbacks=cnn.EarlyStopping)  # type: ignore[arg-type]
    held_out = (images, labels)
    making.model().fit(images, labels, validation=held_out, callbacks=[cnn.EarlyStopping(5)])


@follows(
    "model/new_head.py",
    "make a Model of Sequential(network, head), and give it the arrays by assign",
)
def a_network_without_a_body(here: Here) -> None:
    network, loss = cnn.Residual(cnn.Conv2d(1, 1)), cnn.SoftmaxCrossEntropy(per_pixel=True)
    old = cnn.Model(network, (4, 4), loss=loss)
    with here.refused():
        cnn.with_head(old, cnn.Conv2d(2, 1))
    new = cnn.Model(cnn.Sequential(network, cnn.Conv2d(2, 1)), (4, 4), loss=loss, seed=1)
    learned = {f"0.{path}": array for path, array in old.parameters.items()}
    new.assign({**new.parameters, **learned}, new.state)
    np.testing.assert_array_equal(new.parameters["0.body.weight"], old.parameters["body.weight"])


@follows("model/rate_search.py", "begin with a lower lowest (--lowest)")
def a_search_that_begins_too_high(here: Here) -> None:
    with here.refused():
        cnn.find_learning_rate(making.model(), *making.some(), lowest=1e39, highest=1e40)
    cnn.find_learning_rate(making.model(), *making.some(), lowest=1e-4)


_COMMAND = "cli/fine_tuning.py"
_TRAIN = ("train", "--backend", "numpy", "--no-fast", "--epochs", 1, "--dataset", "pets")


@follows("cli/training_kit.py", "have fewer epochs of it or none, or more --epochs")
def a_command_too_short_for_its_rate_to_rise(here: Here) -> None:
    making.write_pictures(here.path / "pets", size=8)
    train = (*_TRAIN, "--network", "scratch", "--batch-size", 4)
    here.refused_command(*train, "--warmup", 1)
    here.accepted_command(*train, "--warmup", 0.5, "--out", "fewer")
    here.accepted_command(*train, "--out", "none")
    here.accepted_command(*train, "--warmup", 1, "--epochs", 2, "--out", "more")


@follows(_COMMAND, "stretch pictures with --image-size {}, or choose another --from")
def pictures_of_another_size(here: Here) -> None:
    making.write_pictures(here.path / "pets", size=10)
    making.model().save(here.path / "old.npz")
    said = here.refused_command(*_TRAIN, "--from", here.path / "old.npz")
    (size,) = re.findall(r"--image-size (\w+)", said)
    here.accepted_command(*_TRAIN, "--from", here.path / "old.npz", "--image-size", size)


@follows(_COMMAND, "use arraycnn.with_head in Python")
def a_model_that_does_not_end_with_a_dense_layer(here: Here) -> None:
    making.write_pictures(here.path / "pets", size=8)
    network = cnn.Sequential(*(making.small().layers), cnn.Tanh())
    cnn.Model(network, (8, 8)).save(here.path / "old.npz")
    here.refused_command(*_TRAIN, "--from", here.path / "old.npz")
    arraycnn_model = cnn.with_head(cnn.Model.load(here.path / "old.npz"), cnn.Dense(2))
    arraycnn_model.fit(making.some()[0], making.some(classes=2)[1])


@follows(_COMMAND, "name less")
def nothing_is_left_to_train(here: Here) -> None:
    making.write_pictures(here.path / "pets", size=8)
    small = ("--network", "scratch", "--out", here.path / "run")
    here.refused_command(*_TRAIN, *small, "--freeze", "1.*", "--freeze", "4.*")
    here.accepted_command(*_TRAIN, *small, "--freeze", "1.*")


_ANSWERS = "cli/answers.py"


@follows(_ANSWERS, "train one with train --augment shift=1, for example")
def copies_that_nothing_makes(here: Here) -> None:
    making.write_pictures(here.path / "pets", size=8)
    small = (*_TRAIN, "--network", "scratch", "--out")
    here.cli(*small, here.path / "plain")
    said = here.refused_command("evaluate", here.path / "plain" / "last.npz", "--augment", 2)
    (told,) = re.findall(r"train (--augment \S+),", said)
    here.accepted_command(*small, here.path / "moved", *told.split())
    here.accepted_command("evaluate", here.path / "moved" / "last.npz", "--augment", 2)


@follows(_ANSWERS, "leave it out")
def copies_whose_pixels_lie_elsewhere(here: Here) -> None:
    network = cnn.Sequential(cnn.RandomShift(1), cnn.Rescale(), cnn.Conv2d(2, 1))
    loss = cnn.SoftmaxCrossEntropy(per_pixel=True)
    cnn.Model(network, (8, 8), loss=loss).save(here.path / "pixels.npz")
    np.save(here.path / "some.npy", making.some()[0])
    asked = ("predict", here.path / "pixels.npz", here.path / "some.npy")
    here.refused_command(*asked, "--augment", 2)
    here.accepted_command(*asked)
