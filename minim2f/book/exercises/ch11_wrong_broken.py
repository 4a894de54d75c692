"""What usually goes wrong in exercise 11.5, each mistake with its hint."""

from __future__ import annotations

from functools import partial

from minim2f.book.exercises import Wrong


def _finite(output):
    return output.isfinite().all()


def _hooked(fine=_finite, choose=lambda found: found[0], kinds=None, none=""):
    def answer(model, images):
        found = []

        def look(name, module, inputs, output):
            if not fine(output):
                found.append(name)

        named = [(n, m) for n, m in model.named_modules() if kinds is None or kinds(m)]
        hooks = [module.register_forward_hook(partial(look, name)) for name, module in named]
        model(images)
        for hook in hooks:
            hook.remove()
        return choose(found) if found else none

    return answer


def _by_registration(model, images):
    outputs = {}
    hooks = [
        module.register_forward_hook(lambda m, i, output, name=name: outputs.update({name: output}))
        for name, module in model.named_modules()
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    names = [name for name, _ in model.named_modules() if name in outputs]
    return next((name for name in names if not _finite(outputs[name])), "")


def _leaves_by_registration(model, images):
    outputs = {}
    leaves = [(n, m) for n, m in model.named_modules() if not list(m.children())]
    hooks = [
        module.register_forward_hook(lambda m, i, output, name=name: outputs.update({name: output}))
        for name, module in leaves
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return next((name for name, _ in leaves if not _finite(outputs[name])), "")


def _step_by_step(model, images):
    for name, layer in model.named_children():
        images = layer(images)
        if not _finite(images):
            return name
    return ""


def _weights(model, images):
    names = (name for name, weight in model.named_parameters() if not _finite(weight))
    return next(names, "").rpartition(".")[0]


def _inputs(model, images):
    found = []

    def look(name, module, inputs, output):
        if not _finite(inputs[0]):
            found.append(name)

    hooks = [m.register_forward_hook(partial(look, n)) for n, m in model.named_modules()]
    model(images)
    for hook in hooks:
        hook.remove()
    return found[0] if found else ""


def _first_picture(output):
    return output[0].isfinite().all()


def _classes(model, images):
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    name = _hooked()(model, images)
    return kinds[name] if name else ""


BROKEN = [
    Wrong(
        _hooked(fine=lambda output: not output.isnan().any()),
        "infinite numbers are broken too, and come before the NaN that they lead to",
    ),
    Wrong(
        _hooked(fine=lambda output: not output.isinf().any()),
        "that finds infinite numbers only; NaN is not finite either",
    ),
    Wrong(
        _hooked(fine=lambda output: output.isfinite().any()),
        "one number that is not finite is enough: all must be finite",
    ),
    Wrong(
        _hooked(kinds=lambda module: False),
        "always an empty string: every module needs a hook, and the model must be called",
    ),
    Wrong(_hooked(fine=_first_picture), "look at every picture of the batch, not only the first"),
    Wrong(
        _hooked(choose=lambda found: found[-1]),
        "that is the last broken module; the first call of your hook names the first",
    ),
    Wrong(
        _hooked(choose=lambda found: found),
        "those are all broken modules: return the first name only",
    ),
    Wrong(
        _hooked(none=None),
        "where every output is finite, return an empty string",
    ),
    Wrong(
        _by_registration,
        "`named_modules` begins with the whole model: go by the order in which hooks are called",
    ),
    Wrong(
        _leaves_by_registration,
        "modules need not be called in the order of `named_modules`: note the calls themselves",
    ),
    Wrong(_step_by_step, "a module may hold others, and call them in any order: use hooks"),
    Wrong(_weights, "look at outputs: finite weights may overflow, and a picture may be broken"),
    Wrong(_inputs, "that is the module that received the broken tensor; which one made it?"),
    Wrong(_classes, "return the module's name in `named_modules`, not its class"),
]
