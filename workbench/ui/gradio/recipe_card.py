"""The card that a recipe is chosen on: its components, what they say, and what they show."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from workbench.foundation.registry import Entry
from workbench.foundation.spelling import joined
from workbench.graph.passes.registry import TRANSFORMS
from workbench.graph.targets import TARGETS
from workbench.graph.transforms import in_order
from workbench.maths.levels import TABLES, UNIFORM
from workbench.methods.registry import METHODS
from workbench.session import zoo
from workbench.synthesis.registry import MAKERS
from workbench.ui.gradio import forms
from workbench.ui.gradio.forms import TRAINING, Field, Group
from workbench.ui.gradio.pictures import picture
from workbench.ui.gradio.recipe_form import PARTS, Form
from workbench.ui.gradio.settings import Settings
from workbench.views import strings
from workbench.views.code import AFFINE

WEIGHT_BITS = (8, 6, 5, 4, 3, 2, 1)
ACTIVATION_BITS = (0, 16, 8, 6, 4, 3, 2)
EDGE_BITS = (8, 0)


@dataclass(frozen=True)
class Controls:
    """The stock components of the recipe card."""

    model: gr.Dropdown
    upload_model: gr.UploadButton
    upload_data: gr.UploadButton
    upload_recipe: gr.UploadButton
    target: gr.Dropdown
    weights: gr.Radio
    activations: gr.Radio
    edges: gr.Radio
    method: gr.Dropdown
    table: gr.Dropdown
    synthetic: gr.Dropdown
    transforms: gr.CheckboxGroup
    teacher: gr.Dropdown
    upload_teacher: gr.UploadButton
    more: gr.Textbox
    about: gr.Markdown
    groups: tuple[Group, ...]
    run: gr.Button
    stop: gr.Button
    resume: gr.Button
    code: gr.Button

    @property
    def fields(self) -> list[Field]:
        """The options of all parts, in order."""
        return [field for group in self.groups for field in group.fields]

    @property
    def plain(self) -> list[Any]:
        """Components that change nothing but the recipe."""
        return [self.target, self.weights, self.edges, self.table, self.teacher, *self.options]

    @property
    def choices(self) -> dict[Any, tuple[str, ...]]:
        """Components that decide which others there are -> the kinds of parts they decide on."""
        return {
            self.activations: ("activations",),
            self.synthetic: ("synthetic", "maker"),
            self.method: ("method", TRAINING),
            self.transforms: ("transform",),
        }

    def groups_of(self, kinds: Collection[str]) -> list[Group]:
        """The groups of some kinds of parts."""
        return [group for group in self.groups if group.part.partition(":")[0] in kinds]

    def following(self, kinds: Collection[str]) -> list[Any]:
        """What `consequences` may draw anew."""
        groups = self.groups_of(kinds)
        blank = [f.component for group in groups for f in group.fields if f.part == TRAINING]
        return [*(group.column for group in groups), *blank, self.about]

    @property
    def options(self) -> list[Any]:
        """The components of all options, in order."""
        return [field.component for field in self.fields]

    @property
    def recipe(self) -> list[Any]:
        """Components that make up the form, in the order in which `read` takes their values."""
        return [*self.choices, self.more, *self.plain]

    @property
    def drawn(self) -> list[Any]:
        """Everything that `shown` may draw anew."""
        columns = [group.column for group in self.groups]
        return [self.model, *self.recipe, self.about, *columns]


def read(controls: Controls, values: Sequence[Any]) -> Form:
    """What the components of `controls.recipe` say."""
    activations, made, method, names, more, *plain = values
    target, weights, edges, table, teacher, *options = plain
    said = forms.said(controls.fields, options)
    chosen = [name for name in in_order() if name in (names or ())]
    return Form(
        weights=int(weights),
        activations=int(activations),
        edges=int(edges),
        method=str(method),
        options=forms.options_of(method, said),
        target=str(target),
        table=str(table),
        transforms=tuple(joined(name, said.get(f"transform:{name}", {})) for name in chosen),
        synthetic=str(made or ""),
        making=said.get(f"maker:{made}", {}),
        teacher=str(teacher or ""),
        parts={part: said[part] for part in PARTS if part in said},
        more=str(more or ""),
    )


def shown(controls: Controls, settings: Settings) -> dict[Any, Any]:
    """Updates that show the settings: the inverse of `read`."""
    form = settings.form
    options = forms.parts_of(form.method, form.options)
    options |= {f"transform:{name}": given for name, given in form.transform_options.items()}
    options |= {f"maker:{form.synthetic}": dict(form.making)}
    options |= {part: dict(form.parts.get(part, {})) for part in PARTS}
    hints = forms.hints(controls.fields, form.method)
    values = forms.shown(controls.fields, options)
    return {
        **consequences(controls, form),
        controls.model: gr.update(choices=model_choices(settings), value=settings.model),
        controls.target: form.target,
        controls.weights: gr.update(choices=_bits(WEIGHT_BITS, form.weights), value=form.weights),
        controls.activations: gr.update(
            choices=_bits(ACTIVATION_BITS, form.activations), value=form.activations
        ),
        controls.edges: gr.update(choices=_edges(form.edges), value=form.edges),
        controls.table: form.table,
        controls.synthetic: form.synthetic,
        controls.transforms: list(form.transform_options),
        controls.method: form.method,
        controls.teacher: gr.update(choices=_teachers(form.teacher), value=form.teacher),
        controls.more: form.more,
        **{c: gr.update(value=value, **hints.get(c, {})) for c, value in values.items()},
    }


def consequences(
    controls: Controls, form: Form, kinds: Collection[str] | None = None
) -> dict[Any, Any]:
    """What follows from a choice: which options there are, and words.

    Args:
        kinds: of the parts that were decided on; all by default.
    """
    groups = controls.groups if kinds is None else controls.groups_of(kinds)
    found: dict[Any, Any] = {g.column: gr.update(visible=_counts(g.part, form)) for g in groups}
    if kinds is None or "method" in kinds:
        hints = forms.hints(controls.fields, form.method)
        found |= {component: gr.update(**hint) for component, hint in hints.items()}
        found[controls.about] = forms.about(form.method)
    return found


def model_choices(settings: Settings) -> list[tuple[str, str]]:
    """(title, value) of the models that can be chosen; an upload is one of them."""
    found = [(known.name, known.name) for known in zoo.known().values()]
    if settings.model not in [value for _, value in found]:
        found.append((f"{settings.title} (uploaded)", settings.model))
    return found


def recipe_card(first: Settings) -> tuple[Controls, dict[str, gr.HTML]]:
    """Draw the card; call inside `gr.Blocks`. Its controls, and the hints beside them by name."""
    form = first.form
    with gr.Column(elem_id="wb-form", min_width=0):
        model, upload_model, upload_data, upload_recipe = _model(first)
        target = gr.Dropdown(list(TARGETS), value=form.target, label="Target", elem_id="wb-target")
        meaning = picture("study", "mountHint", "wb-meaning")
        weights, activations, edges = _widths(form)
        exceptions = picture("study", "mountHint", "wb-exceptions")
        synthetic, making = _calibration(form)
        method = gr.Dropdown(
            forms.choices(), value=form.method, label="Method", elem_id="wb-method"
        )
        about = gr.Markdown(forms.about(form.method), elem_id="wb-about")
        with gr.Accordion("Options", open=False, elem_id="wb-options"):
            methods = [_options("method", entry, form) for entry in METHODS]
            teacher, upload_teacher, training = _training(form)
        with gr.Accordion("Levels and transforms", open=False, elem_id="wb-prepare"):
            table, transforms, prepare = _prepare(form)
            changed = picture("study", "mountHint", "wb-changed")
        with gr.Accordion("Data, seed, layers and stages", open=False, elem_id="wb-besides"):
            more, besides = _besides(form)
    refusal = picture("study", "mountHint", "wb-refusal")
    with gr.Row(elem_id="wb-actions"):
        run = gr.Button("Run", variant="primary", elem_id="wb-run")
        stop = gr.Button("Stop", visible=False, elem_id="wb-stop")
        resume = gr.Button("Resume", visible=False, elem_id="wb-resume")
        code = gr.Button("Show code", elem_id="wb-show-code")
    groups = (*making, *methods, training, *prepare, *besides)
    controls = Controls(
        model, upload_model, upload_data, upload_recipe, target, weights, activations, edges,
        method, table, synthetic, transforms, teacher, upload_teacher, more, about, groups,
        run, stop, resume, code,
    )  # fmt: skip
    hints = {"meaning": meaning, "refusal": refusal, "changed": changed}
    return controls, {**hints, "exceptions": exceptions}


def _model(
    first: Settings,
) -> tuple[gr.Dropdown, gr.UploadButton, gr.UploadButton, gr.UploadButton]:
    model = gr.Dropdown(model_choices(first), value=first.model, label="Model", elem_id="wb-model")
    with gr.Row(elem_id="wb-uploads"):
        return (
            model,
            gr.UploadButton("Open .onnx", size="sm", elem_id="wb-upload-model"),
            gr.UploadButton("Your data", size="sm", elem_id="wb-upload-data"),
            gr.UploadButton("Recipe", size="sm", elem_id="wb-upload-recipe"),
        )


def _widths(form: Form) -> tuple[gr.Radio, gr.Radio, gr.Radio]:
    """Bits of weights, activations and edges."""
    usual, active = _bits(WEIGHT_BITS, form.weights), _bits(ACTIVATION_BITS, form.activations)
    return (
        _choice("weights", "Weights, bits", usual, form.weights),
        _choice("activations", "Activations, bits", active, form.activations),
        _choice("edges", "First and last layer", _edges(form.edges), form.edges),
    )


def _choice(name: str, label: str, choices: list[tuple[str, int]], value: int) -> gr.Radio:
    return gr.Radio(
        choices, value=value, label=label, elem_id=f"wb-{name}", elem_classes="wb-choice"
    )


def _calibration(form: Form) -> tuple[gr.Dropdown, list[Group]]:
    made = [(f"{entry.title} (data-free)", entry.name) for entry in MAKERS]
    synthetic = gr.Dropdown(
        [(strings.SYNTHETIC_REAL, ""), *made],
        value=form.synthetic,
        label="Calibrate on",
        info=strings.SYNTHETIC_HELP,
        elem_id="wb-synthetic",
    )
    making = [_options("maker", entry, form) for entry in MAKERS]
    return synthetic, [_part("synthetic", form), *making]


def _training(form: Form) -> tuple[gr.Dropdown, gr.UploadButton, Group]:
    """Who teaches, and the options that training methods share."""
    with gr.Column(visible=forms.trains(form.method), elem_classes="wb-options") as column:
        teacher = gr.Dropdown(
            _teachers(form.teacher),
            value=form.teacher,
            label="teacher",
            info=strings.TEACHER_HELP,
            elem_id="wb-teacher",
        )
        upload = gr.UploadButton("Open teacher", size="sm", elem_id="wb-upload-teacher")
        with gr.Accordion("More about training", open=False, elem_id="wb-training"):
            gr.Markdown(strings.BLANK_HELP, elem_classes="wb-help")
            group = forms.group(TRAINING, forms.all_shared(), blank=True)
    return teacher, upload, replace(group, column=column)


def _prepare(form: Form) -> tuple[gr.Dropdown, gr.CheckboxGroup, list[Group]]:
    levels = [("Uniform steps", UNIFORM), ("Uniform, with zero-points", AFFINE)]
    levels += [(table.title, name) for name, table in TABLES.items()]
    table = gr.Dropdown(levels, value=form.table, label="Levels of the weights", elem_id="wb-table")
    grids = [_part("weights", form), _part("activations", form, blank=True)]
    transforms = gr.CheckboxGroup(
        [(TRANSFORMS[name].title, name) for name in in_order()],
        value=list(form.transform_options),
        label="Before quantization",
        info=strings.PREPARE_HELP,
        elem_id="wb-transforms",
    )
    options = [_options("transform", TRANSFORMS[name], form, blank=True) for name in in_order()]
    return table, transforms, [*grids, *options]


def _besides(form: Form) -> tuple[gr.Textbox, list[Group]]:
    group = _part("recipe", form)
    more = gr.Textbox(
        value=form.more,
        lines=9,
        max_lines=24,
        label=strings.MORE_LABEL,
        info=strings.MORE_HELP,
        placeholder=strings.MORE_EXAMPLE,
        elem_id="wb-more",
    )
    return more, [group]


def _options(kind: str, entry: Entry[Any], form: Form, *, blank: bool = False) -> Group:
    """The options of something in a registry."""
    part = f"{kind}:{entry.name}"
    own = forms.own(entry.name) if kind == "method" else forms.declared(entry.options)
    return forms.group(part, own, blank=blank, visible=_counts(part, form))


def _part(part: str, form: Form, *, blank: bool = False) -> Group:
    """The plain options of a part of the recipe."""
    options, names = PARTS[part]
    return forms.group(
        part, forms.declared(options, names), blank=blank, visible=_counts(part, form)
    )


def _counts(part: str, form: Form) -> bool:
    """Whether the options of a part count with what the form chooses."""
    kind, _, name = part.partition(":")
    chosen = {
        "method": name == form.method,
        "maker": name == form.synthetic,
        "transform": name in form.transform_options,
        "synthetic": bool(form.synthetic),
        "activations": bool(form.activations),
        TRAINING: forms.trains(form.method),
    }
    return chosen.get(kind, True)


def _bits(usual: Sequence[int], current: int) -> list[tuple[str, int]]:
    """(title, bits) to choose from; others are there if a recipe has them."""
    every = usual if current in usual else sorted({*usual, current} - {0}, reverse=True)
    first = [0] if 0 in usual and current not in usual else []
    return [(str(bits) if bits else "float", bits) for bits in (*first, *every)]


def _edges(current: int) -> list[tuple[str, int]]:
    every = EDGE_BITS if current in EDGE_BITS else (*EDGE_BITS, current)
    return [(f"{bits} bits" if bits else "same as others", bits) for bits in every]


def _teachers(current: str) -> list[tuple[str, str]]:
    """(title, value) of the models that can teach; one of the recipe's own is among them."""
    known = [(name, name) for name in zoo.known()]
    found = [(strings.TEACHER_SELF, ""), *known]
    if current not in [value for _, value in found]:
        found.append((f"{Path(current).stem} (a file)", current))
    return found
