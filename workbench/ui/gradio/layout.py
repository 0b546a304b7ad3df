"""Where things are on the page; what they do is in `handlers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from workbench.graph.passes.registry import TRANSFORMS
from workbench.graph.targets import TARGETS
from workbench.graph.transforms import in_order
from workbench.maths.levels import TABLES, UNIFORM
from workbench.session import zoo
from workbench.synthesis.registry import MAKERS
from workbench.ui.gradio import forms
from workbench.ui.gradio.forms import MethodForm
from workbench.ui.gradio.pictures import picture
from workbench.ui.gradio.settings import ACTIVATION_BITS, WEIGHT_BITS, Settings
from workbench.views import strings
from workbench.views.code import AFFINE

_MARK = (
    '<svg viewBox="0 0 16 16" width="17" height="17" aria-hidden="true">'
    '<rect x="1" y="1" width="14" height="14" rx="3" fill="none" stroke="currentColor"'
    ' stroke-width="1.6"/>'
    '<path d="M2 2h6v12H2z" fill="currentColor"/></svg>'
)
_BRAND = f'<h1 class="wb-brand">{_MARK}<span>Workbench</span></h1>'


@dataclass(frozen=True)
class Controls:
    """The stock components of the recipe card."""

    model: gr.Dropdown
    upload_model: gr.UploadButton
    upload_data: gr.UploadButton
    target: gr.Dropdown
    weights: gr.Radio
    activations: gr.Radio
    edges: gr.Radio
    method: gr.Dropdown
    table: gr.Dropdown
    synthetic: gr.Dropdown
    transforms: gr.CheckboxGroup
    about: gr.Markdown
    forms: tuple[MethodForm, ...]
    run: gr.Button
    stop: gr.Button
    resume: gr.Button
    code: gr.Button

    @property
    def options(self) -> list[Any]:
        """Components of all method forms, in order."""
        return [component for form in self.forms for component in form.components]

    @property
    def recipe(self) -> list[Any]:
        """Components that make up the form, in the order that handlers take them."""
        return [*self.fields, self.method, *self.options]

    @property
    def fields(self) -> list[Any]:
        """Those that are there for every method."""
        return [
            self.target, self.weights, self.activations, self.edges, self.table, self.synthetic,
            self.transforms,
        ]  # fmt: skip


@dataclass(frozen=True)
class Page:
    """Everything that handlers read or write."""

    key: gr.BrowserState
    seen: gr.State
    timer: gr.Timer
    pictures: dict[str, gr.HTML]
    code: gr.HTML
    controls: Controls
    downloads: dict[str, gr.DownloadButton]
    view: gr.Radio
    cured: gr.DownloadButton


def page(exact_range: Callable[..., Any], secret: str, first: Settings) -> Page:
    """Build the components; call inside `gr.Blocks`.

    Args:
        exact_range: function that the browser calls when a handle is let go.
        secret: keeps the browser's store readable.
        first: what a new page shows.
    """
    key = gr.BrowserState(None, storage_key="workbench-key", secret=secret)
    seen = gr.State("")
    timer = gr.Timer(0.7, active=False)
    notice = picture("summary", "mountNotice", "wb-notice")
    with gr.Row(elem_id="wb-header"):
        gr.HTML(_BRAND, elem_id="wb-brand", apply_default_css=False)
        view = _view()
        scores = picture("summary", "mountScores", "wb-scores")
    with gr.Row(elem_id="wb-main"):
        with gr.Column(elem_id="wb-layers-card", elem_classes="wb-card", min_width=0):
            layers = picture("layers", "mountLayers", "wb-layers")
        with gr.Column(elem_id="wb-inspector-card", elem_classes="wb-card", min_width=0):
            inspector = picture("inspector", "mountInspector", "wb-inspector", [exact_range])
        with gr.Column(elem_id="wb-learning-card", elem_classes="wb-card", min_width=0):
            signals = picture("signals", "mountSignals", "wb-learned")
        with gr.Column(elem_id="wb-export-card", elem_classes="wb-card", min_width=0):
            export = picture("study", "mountStudy", "wb-export")
            cured = gr.DownloadButton("cured", size="sm", visible=False, elem_id="wb-cured")
        with gr.Column(elem_id="wb-recipe-card", elem_classes="wb-card", min_width=0):
            controls, hints = _controls(first)
    with gr.Row(elem_id="wb-footer"):
        with gr.Column(elem_id="wb-curves-card", elem_classes="wb-card", min_width=0):
            curves = picture("curves", "mountCurves", "wb-curves")
        with gr.Column(elem_id="wb-runs-card", elem_classes="wb-card", min_width=0):
            runs = picture("summary", "mountRuns", "wb-runs")
        with gr.Column(elem_id="wb-verdict-card", elem_classes="wb-card", min_width=0):
            verdict = picture("summary", "mountVerdict", "wb-verdict")
            downloads = _downloads()
    code = picture("code", "mountCode", "wb-code")
    pictures = {
        "scores": scores,
        "layers": layers,
        "inspector": inspector,
        "curves": curves,
        "runs": runs,
        "verdict": verdict,
        "notice": notice,
        "signals": signals,
        "export": export,
        **hints,
    }
    return Page(key, seen, timer, pictures, code, controls, downloads, view, cured)


def model_choices(settings: Settings) -> list[tuple[str, str]]:
    """(title, value) of the models that can be chosen; an upload is one of them."""
    found = [(known.name, known.name) for known in zoo.known().values()]
    if settings.model not in [value for _, value in found]:
        found.append((f"{settings.title} (uploaded)", settings.model))
    return found


def _view() -> gr.Radio:
    return gr.Radio(
        [("Layers", "layers"), ("Learning", "learning"), ("Export", "export")],
        value="layers",
        show_label=False,
        container=False,
        elem_id="wb-view",
        elem_classes="wb-choice",
    )


def _controls(first: Settings) -> tuple[Controls, dict[str, gr.HTML]]:
    form = first.form
    with gr.Column(elem_id="wb-form", min_width=0):
        model = gr.Dropdown(
            model_choices(first), value=first.model, label="Model", elem_id="wb-model"
        )
        with gr.Row(elem_id="wb-uploads"):
            upload_model = gr.UploadButton("Open .onnx", size="sm", elem_id="wb-upload-model")
            upload_data = gr.UploadButton("Your data", size="sm", elem_id="wb-upload-data")
        target = gr.Dropdown(list(TARGETS), value=form.target, label="Target", elem_id="wb-target")
        meaning = picture("study", "mountHint", "wb-meaning")
        weights, activations = _bits(first)
        refusal = picture("study", "mountHint", "wb-refusal")
        edges = _edges(first)
        synthetic = _calibration(first)
        method = gr.Dropdown(
            forms.choices(), value=form.method, label="Method", elem_id="wb-method"
        )
        about = gr.Markdown(forms.about(form.method), elem_id="wb-about")
        with gr.Accordion("Options", open=False, elem_id="wb-options"):
            drawn = forms.method_forms(form.method)
        with gr.Accordion("Levels and transforms", open=False, elem_id="wb-prepare"):
            table, transforms = _prepare(first)
            changed = picture("study", "mountHint", "wb-changed")
    with gr.Row(elem_id="wb-actions"):
        run = gr.Button("Run", variant="primary", elem_id="wb-run")
        stop = gr.Button("Stop", visible=False, elem_id="wb-stop")
        resume = gr.Button("Resume", visible=False, elem_id="wb-resume")
        code = gr.Button("Show code", elem_id="wb-show-code")
    controls = Controls(
        model, upload_model, upload_data, target, weights, activations, edges, method, table,
        synthetic, transforms, about, tuple(drawn), run, stop, resume, code,
    )  # fmt: skip
    return controls, {"meaning": meaning, "refusal": refusal, "changed": changed}


def _prepare(first: Settings) -> tuple[gr.Dropdown, gr.CheckboxGroup]:
    levels = [("Uniform steps", UNIFORM), ("Uniform, with zero-points", AFFINE)]
    levels += [(table.title, name) for name, table in TABLES.items()]
    table = gr.Dropdown(
        levels, value=first.form.table, label="Levels of the weights", elem_id="wb-table"
    )
    transforms = gr.CheckboxGroup(
        [(TRANSFORMS[name].title, name) for name in in_order()],
        value=first.form.transform_names(),
        label="Before quantization",
        info=strings.PREPARE_HELP,
        elem_id="wb-transforms",
    )
    return table, transforms


def _bits(first: Settings) -> tuple[gr.Radio, gr.Radio]:
    weights = gr.Radio(
        [(str(bits), bits) for bits in WEIGHT_BITS],
        value=first.form.weights,
        label="Weights, bits",
        elem_id="wb-weights",
        elem_classes="wb-choice",
    )
    activations = gr.Radio(
        [(str(bits) if bits else "float", bits) for bits in ACTIVATION_BITS],
        value=first.form.activations,
        label="Activations, bits",
        elem_id="wb-activations",
        elem_classes="wb-choice",
    )
    return weights, activations


def _edges(first: Settings) -> gr.Radio:
    return gr.Radio(
        [("8 bits", 8), ("same as others", 0)],
        value=first.form.edges,
        label="First and last layer",
        elem_id="wb-edges",
        elem_classes="wb-choice",
    )


def _calibration(first: Settings) -> gr.Dropdown:
    made = [(f"{entry.title} (data-free)", entry.name) for entry in MAKERS]
    return gr.Dropdown(
        [(strings.SYNTHETIC_REAL, ""), *made],
        value=first.form.synthetic,
        label="Calibrate on",
        info=strings.SYNTHETIC_HELP,
        elem_id="wb-synthetic",
    )


def _downloads() -> dict[str, gr.DownloadButton]:
    with gr.Row(elem_id="wb-downloads"):
        return {
            name: gr.DownloadButton(
                title, size="sm", interactive=False, elem_id=f"wb-download-{name}"
            )
            for name, title in strings.DOWNLOADS.items()
        }
