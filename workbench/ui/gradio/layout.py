"""Where things are on the page; what they do is in `handlers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from workbench.ui.gradio import levels
from workbench.ui.gradio.pictures import picture
from workbench.ui.gradio.recipe_card import Controls, recipe_card
from workbench.ui.gradio.settings import VIEWS, Settings
from workbench.views import strings
from workbench.views.language import ENGLISH, languages

_MARK = (
    '<svg viewBox="0 0 16 16" width="17" height="17" aria-hidden="true">'
    '<rect x="1" y="1" width="14" height="14" rx="3" fill="none" stroke="currentColor"'
    ' stroke-width="1.6"/>'
    '<path d="M2 2h6v12H2z" fill="currentColor"/></svg>'
)
_BRAND = f'<h1 class="wb-brand">{_MARK}<span>Workbench</span></h1>'


@dataclass(frozen=True)
class Page:
    """Everything that handlers read or write."""

    key: gr.BrowserState
    pictures: dict[str, gr.HTML]
    code: gr.HTML
    controls: Controls
    downloads: dict[str, gr.DownloadButton]
    view: gr.Radio
    cured: gr.DownloadButton
    drop_model: gr.File
    drop_data: gr.File

    @property
    def drawn(self) -> list[gr.HTML]:
        """All pictures."""
        return [*self.pictures.values(), self.code]

    @property
    def few(self) -> list[Any]:
        """Gradio's own components that any event may change."""
        buttons = [self.controls.run, self.controls.stop, self.controls.resume]
        return [*buttons, *self.downloads.values(), self.cured]

    @property
    def parts(self) -> list[Any]:
        """These, then the form."""
        return [*self.few, self.view, *self.controls.drawn]


def page(
    exact_range: Callable[..., Any],
    lesson: Callable[..., Any],
    survey: Callable[..., Any],
    secret: str,
    first: Settings,
) -> Page:
    """Build the components; call inside `gr.Blocks`.

    Args:
        exact_range: function that the browser calls when a handle is let go.
        lesson: function that the browser calls for whatever is done in a lesson; survey: in the
            survey's maps.
        secret: keeps the browser's store readable.
        first: what a new page shows.
    """
    key = gr.BrowserState(None, storage_key="workbench-key", secret=secret)
    notice = picture("summary", "mountNotice", "wb-notice")
    with gr.Row(elem_id="wb-header"):
        gr.HTML(_BRAND, elem_id="wb-brand", apply_default_css=False)
        view = _view()
        scores = picture("summary", "mountScores", "wb-scores")
        gr.HTML(_switches(), elem_id="wb-switches", apply_default_css=False)
    tries = picture("opening", "mountTries", "wb-tries")
    with gr.Row(elem_id="wb-main"):
        start, drop_model, drop_data = _open()
        layers = _layers(exact_range)
        others = _others() | _lessons(lesson, survey)
        export, cured = _export()
        with gr.Column(elem_id="wb-recipe-card", elem_classes="wb-card", min_width=0):
            controls, hints = recipe_card(first)
    footer, downloads = _footer()
    code = picture("code", "mountCode", "wb-code")
    address = picture("address", "mountAddress", "wb-address")
    pictures = {
        "scores": scores,
        **layers,
        **footer,
        "notice": notice,
        "address": address,
        **others,
        "export": export,
        **start,
        "tries": tries,
        **hints,
    }
    return Page(key, pictures, code, controls, downloads, view, cured, drop_model, drop_data)


def _switches() -> str:
    """The language and larger type; `page.js` does what they say."""
    known = [(ENGLISH, "EN"), *((each.code, each.name) for each in languages())]
    options = "".join(
        f'<option value="{code}" translate="no">{name}</option>' for code, name in known
    )
    return (
        f'<div class="wb-switches"><button type="button" data-wb-teach aria-pressed="false"'
        f' aria-label="{strings.LARGER_TYPE}" title="{strings.LARGER_TYPE}">Aa</button>'
        f'<select data-wb-language aria-label="{strings.LANGUAGE}">{options}'
        "</select></div>"
    )


def _open() -> tuple[dict[str, gr.HTML], gr.File, gr.File]:
    """Cards of models; beside them where files are dropped, and what is on screen now."""
    with gr.Row(elem_id="wb-open-card", elem_classes="wb-card"):
        cards = picture("opening", "mountOpen", "wb-open")
        with gr.Column(elem_id="wb-open-side", min_width=0):
            model = gr.File(label=strings.OPEN_DROP_MODEL, height=96, elem_id="wb-drop-model")
            data = gr.File(label=strings.OPEN_DROP_DATA, height=96, elem_id="wb-drop-data")
            loaded = picture("opening", "mountLoaded", "wb-loaded")
    return {"open": cards, "loaded": loaded}, model, data


def _footer() -> tuple[dict[str, gr.HTML], dict[str, gr.DownloadButton]]:
    """What is learned now, the runs, and the verdict with its files."""
    with gr.Row(elem_id="wb-footer"):
        with gr.Column(elem_id="wb-curves-card", elem_classes="wb-card", min_width=0):
            curves = picture("curves", "mountCurves", "wb-curves", looks=levels.KINDS)
        with gr.Column(elem_id="wb-runs-card", elem_classes="wb-card", min_width=0):
            runs = picture("summary", "mountRuns", "wb-runs")
        with gr.Column(elem_id="wb-verdict-card", elem_classes="wb-card", min_width=0):
            verdict = picture("summary", "mountVerdict", "wb-verdict")
            downloads = _downloads()
    return {"curves": curves, "runs": runs, "verdict": verdict}, downloads


def _layers(exact_range: Callable[..., Any]) -> dict[str, gr.HTML]:
    """The table of layers, the chosen one, and why it suffers."""
    with gr.Column(elem_id="wb-layers-card", elem_classes="wb-card", min_width=0):
        layers = picture("layers", "mountLayers", "wb-layers", looks=levels.KINDS)
    with gr.Column(elem_id="wb-inspector-card", elem_classes="wb-card", min_width=0):
        inspector = picture(
            "inspector", "mountInspector", "wb-inspector", [exact_range], levels.KINDS
        )
        why = picture("causes", "mountCauses", "wb-why")
    return {"layers": layers, "inspector": inspector, "why": why}


def _others() -> dict[str, gr.HTML]:
    """The views that take the place of the layers: a picture each."""
    found: dict[str, gr.HTML] = {}
    for name, card, module, mount, elem_id in (
        ("signals", "wb-learning-card", "signals", "mountSignals", "wb-learned"),
        ("bits", "wb-bits-card", "bits", "mountBits", "wb-bits"),
        ("compare", "wb-compare-card", "study", "mountStudy", "wb-compared"),
    ):
        with gr.Column(elem_id=card, elem_classes="wb-card", min_width=0):
            found[name] = picture(module, mount, elem_id)
    return found


def _lessons(lesson: Callable[..., Any], survey: Callable[..., Any]) -> dict[str, gr.HTML]:
    """The demos or the survey's maps, which take the whole page; a radio shows one of the two."""
    with gr.Column(elem_id="wb-lessons-card", elem_classes="wb-card", min_width=0):
        gr.Radio(
            strings.LESSONS_PARTS,
            value="demos",
            interactive=True,  # it is wired to nothing but the style sheet
            show_label=False,
            container=False,
            elem_id="wb-lessons-part",
            elem_classes="wb-choice",
        )
        return {
            "lessons": picture("lesson", "mountLesson", "wb-lessons", [lesson]),
            "survey": picture("survey", "mountSurvey", "wb-survey", [survey]),
        }


def _export() -> tuple[gr.HTML, gr.DownloadButton]:
    """The export view, and the file that it cured."""
    with gr.Column(elem_id="wb-export-card", elem_classes="wb-card", min_width=0):
        return (
            picture("study", "mountStudy", "wb-export"),
            gr.DownloadButton("cured", size="sm", visible=False, elem_id="wb-cured"),
        )


def _view() -> gr.Radio:
    return gr.Radio(
        [(strings.VIEWS[name], name) for name in VIEWS],
        value="layers",
        show_label=False,
        container=False,
        elem_id="wb-view",
        elem_classes="wb-choice",
    )


def _downloads() -> dict[str, gr.DownloadButton]:
    with gr.Row(elem_id="wb-downloads"):
        return {
            name: gr.DownloadButton(
                title, size="sm", interactive=False, elem_id=f"wb-download-{name}"
            )
            for name, title in strings.DOWNLOADS.items()
        }
