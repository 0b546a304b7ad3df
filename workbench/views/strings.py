"""The words of the pictures, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEASURES: dict[str, dict[str, str]] = {
    "weights": {
        "label": "weights",
        "bar": "SQNR",
        "unit": "dB",
        "help": "Signal to quantization noise with only this layer's weights quantized",
    },
    "activations": {
        "label": "input",
        "bar": "SQNR",
        "unit": "dB",
        "help": "Signal to quantization noise with only this layer's input quantized",
    },
    "accumulated": {
        "label": "total",
        "bar": "SQNR",
        "unit": "dB",
        "help": "Signal to noise of this layer's output with the whole network quantized",
    },
    "damage": {
        "label": "damage",
        "bar": "KL",
        "unit": "mnat",
        "help": "How far the predictions move when only this layer is quantized (KL divergence)",
    },
    "gain": {
        "label": "gain",
        "bar": "KL",
        "unit": "mnat",
        "help": "What the predictions win back when this layer alone stays float (KL divergence)",
    },
    "bits": {
        "label": "bits",
        "bar": "bits",
        "unit": "bits",
        "help": "Bits of this layer's weights",
    },
    "bytes": {
        "label": "bytes",
        "bar": "size",
        "unit": "bytes",
        "help": "What this layer's weights take in the file, packed",
    },
    "macs": {
        "label": "MACs",
        "bar": "MACs",
        "unit": "M",
        "help": "Millions of multiply-adds of this layer for one example",
    },
    "bops": {
        "label": "bit operations",
        "bar": "BOPs",
        "unit": "M",
        "help": "Millions of multiply-adds times the bits of the weights and of the input",
    },
    "latency": {
        "label": "latency",
        "bar": "time",
        "unit": "ms",
        "help": "Time of this layer in ONNX Runtime for one example, as it was measured here",
    },
}

FOOT_THEORY = "Bar: signal over noise. Tick: theory for its bits, 6.02 dB each. Held-out data."
FOOT_ACCUMULATED = "Signal over all noise up to each layer, whole network quantized. Held-out data."
FOOT_DAMAGE = "How far predictions move when only this layer is quantized (KL). Held-out data."
FOOT_GAIN = "What predictions win back when this layer alone stays float (KL). Held-out data."
FOOT_ESTIMATED = "~ estimated."
FOOT_BITS = "Bits of each layer's weights, the fewest first."
FOOT_BYTES = "What each layer's weights take in the file, packed, the largest first."
FOOT_MACS = "Multiply-adds of each layer for one example, in millions."
FOOT_BOPS = "Multiply-adds times bits of weights and input, in millions. Float counts 32 bits."
FOOT_LATENCY = "Time of each layer in ONNX Runtime on this computer, one example."
NO_GRAPH = "This network cannot be drawn."
ESTIMATING = "Estimating what each layer does to the predictions"
MEASURE_EXACTLY = "Measure"
MEASURE_EXACTLY_HELP = "Run the network with each layer alone quantized, and with all but it"

GRAPH_LABEL = "Graph of the network"
WEIGHTS_TITLE = "Weights"
ACTIVATIONS_TITLE = "Input activations"
CHANNELS_TITLE = "Widest weight of each channel"
CELLS_TITLE = "Weights of channel {channel}"
CELLS_TEXT = "{weights}, {against} rounded against the nearest level"
CELL_CODE = "{code} of {low} … {high}"
CELL_AXES = ("input", "row", "column")
CELL_WAYS = {
    "nearest": "to the nearest level",
    "up": "up, against the nearest ({nearest})",
    "down": "down, against the nearest ({nearest})",
    "clipped": "clipped: it lies beyond the last level",
}
OVERVIEW_TITLE = "The model"
OVERVIEW_KINDS = "By kind of layer"
OVERVIEW_WORST = "Look at first"
LINK_MODEL = "The address names a model that is not here; what you had on screen is shown."
LINK_RUN = "The address names a run that is not on this page; nearest rounding is shown."
NETWORK_TITLE = "Along the network, dB"
NETWORK_TITLES = {
    "damage": "Damage along the network",
    "gain": "Gain along the network",
    "bits": "Bits along the network",
    "bytes": "Bytes along the network",
    "macs": "MACs along the network",
    "bops": "Bit operations along the network",
    "latency": "Latency along the network",
}
STAYS_FLOAT = "stays float: no grid"
CURED = "Cured: {scores}, float {float}; {end}."
CURED_CAUSE_HELP = "Established by a counterfactual: what the place would lose without it"
CURED_HELD_OUT = "Before and after this cure, on held-out data"
CURED_BYTES_HELP = "Bytes of the weights that the cure adds or saves"
NO_HISTOGRAM = "No values were recorded for this tensor."
NO_LAYERS = "This model has no layer with weights to quantize."

#: of damage in thousandths, by what a network answers
DAMAGE_UNITS = {"classes": "mnat", "values": "‰ of ½‖Δz‖²"}
WHY_TITLE = "Why it suffers"
WHY_WAITING = "Causes are looked for once the run is done."
WHY_UNKNOWN = (
    "The causes of this layer were not looked for yet. Each is established by changing one thing"
    " and measuring again."
)
WHY_BUSY = "Another measurement goes first; this one follows by itself."
WHY_NONE = (
    "No single cause stands out: nothing that was changed at this layer alone removes a fifth of"
    " its damage. Layers with more damage come first."
)
WHY_FLOAT = "Nothing of this layer is quantized with this recipe, so nothing suffers here."
LOOK = "Look for causes"
LOOK_AGAIN = "Try again"
LOOKING = "Looking for causes"
ONLY_A_TRIAL = "only a trial tells"
BEST_VALUE = "most for its price"
SAME_SIZE = "same size"
CURE_HELP = "Apply it, measure on held-out data, and keep it if it helps"
AUTO = "Cure automatically"
AUTO_HELP = "Cure what hurts most, again and again; what does not help is put back"
AUTO_TRYING = "Curing where it hurts most"
AUTO_DONE = "Cured automatically"
AUTO_HEALTHY = "The score is there already; no cure was needed."
GOAL = "score to reach, against float"
GOAL_FLOAT = "score as float"
GOAL_OFF = "{share} % off float"
BUDGET = "size not to exceed"
ANY_SIZE = "any size"
SAME_SIZE_MOST = "same size"
TRIAL_TRYING = "Trying"
TRIAL_KEPT = "Kept"
TRIAL_DROPPED = "Put back"
TRIAL_STOPPED = "Stopped"
TRIAL_FAILED = "Not possible"
TRIAL_MAKING = "the cured run is being made"
TRIAL_ADOPTED = "The recipe on the right is the cured one."
TRIAL_WAS = "It did not help, so the recipe stays as it was."
TRIAL_BACK = "Undo"
TRIAL_BACK_HELP = "Show the run before the cure, and its recipe"
TRIAL_CLOSE = "Close"
PROOF_SCORE = "score"
PROOF_KL = "KL to float"
PROOF_DAMAGE = "layer alone"
PROOF_WEIGHTS = "its weights"
PROOF_INPUT = "its input"
PROOF_TOTAL = "its output, all told"
PROOF_SIZE = "size of weights"
PROOF_BOPS = "bit operations"
PROOF_HELP = "before and after, on the same held-out data"
TRIAL_STOP = "Stop"
CURE_RUNNING = "a cure of this page is being tried already; stop it first, or wait"
NO_SUCH_CURE = "that cure is not known here; look for the causes of the layer first"

RUNS_TITLE = "Runs"
RUNS_EMPTY = "No runs yet. Choose bits and a method, then Run: each run is kept here to compare."
REMOVE = "Remove this run and its files"
REMOVE_SURE = "Remove?"
LEARN_TITLE = "Learning"
LEARN_EMPTY = "Run a method to watch each layer learn; what you see above is nearest rounding."
LEARN_NOTHING = "No curve so far: nothing has learned yet."
LEARN_RANGES = "Nothing was learned in this run: values are rounded to the nearest level."
LEARN_NONE = "Nothing was learned in this run: its quantizers were taken as they are."
NEXT = "it is next"
LEARN_QUEUED = "Others are at work on this machine. This job begins by itself when it is its turn."
LEARN_WAITING = "Starting the job: opening the model and measuring it in float."
ANALYSING_SHORT = "being made"
ANALYSING = "Rounding each layer to the nearest level and measuring what it costs…"
BASELINE_TITLE = "nearest rounding"
EPOCHS = "loss, epochs"
SIGNALS_TITLE = "Learning, site by site"
SIGNALS_EMPTY = "No run to look into yet: start one with Run, and watch each site learn here."
WHOLE = "network"
RANGES = "ranges"
#: signals of a terminal's line: label, and whether it is a share
SIGNALS_SHORT = {
    "loss": ("loss", False),
    "held_out": ("held out", False),
    "hard": ("hard", False),
    "error_nearest": ("nearest", False),
    "error_learned": ("learned", False),
    "gradient": ("gradient", False),
    "flips": ("moved", True),
    "open": ("undecided", True),
    "clipped": ("clipped", True),
    "agreement": ("agreement", True),
    "score": ("score", True),
}
VERIFY_TITLE = "Verification"
VERIFY_MEASURING = "Trying each cure and timing it…"
VERIFY_EMPTY = (
    "Not exported yet. After a run the file is executed in ONNX Runtime and compared tensor by"
    " tensor, in quantization steps."
)

SERVER_GONE = (
    "The server does not answer. Runs and settings are kept there; this page goes on as soon as it"
    " is back."
)
LANGUAGE = "Language"
LARGER_TYPE = "Larger type, for a class"
VIEWS = {
    "open": "Open",
    "layers": "Layers",
    "learning": "Learning",
    "bits": "Bits",
    "compare": "Compare",
    "export": "Export",
    "lessons": "Lessons",
}
EXPORT_PARTS = {
    "coverage": "What will run where",
    "verification": "Verification",
    "speed": "Time and size",
    "machine": "This computer",
}
OPEN_SAMPLES = "Samples"
OPEN_SAMPLES_HELP = "They bring their own examples, with labels."
OPEN_LARGER = "Larger, from packages"
OPEN_LARGER_HELP = "They bring no examples: add yours, or go on without."
OPEN_TASKS = {
    "digits": "which digit a small picture shows",
    "bytes": "the next byte of a program's text",
}
OPEN_LEARNED = "at {bits} bits {nearest} → {learned}"
OPEN_LEARNED_HELP = "Weights rounded to the nearest level → learned with gram"
OPEN_NO_SCORE = "A score needs labelled examples; this model brings none"
OPEN_ABSENT = "not installed: make zoo"
OPEN_ABSENT_HELP = "Its packages are not installed ({packages}); 'make zoo' installs them."
OPEN_OPENING = "Opening {name} and its data…"
OPEN_OPENING_MADE = "Opening {name}; the first time it is exported, which takes a while…"
OPEN_READING = "Checking '{name}'…"
OPEN_NOW = "On screen now"
OPEN_MODEL = "model"
OPEN_FROM_FILE = "your file"
OPEN_FROM_NAME = {True: "a sample", False: "from a package"}
OPEN_INPUTS = "takes"
OPEN_LAYERS = "has"
OPEN_DATA = "data"
OPEN_EXAMPLES = "examples"
OPEN_LABELS = "labels"
OPEN_OWN = "the model's own"
OPEN_GIVEN = "yours"
OPEN_NO_DATA = "none"
OPEN_COUNTS = "{calibration} calibrate, {test} others judge"
OPEN_LABELLED = {
    "classes": "yes, a class for each",
    "following": "yes, what follows in the text",
    "pairs": "yes, a similarity for each pair",
    "none": "no",
}
OPEN_UNLABELLED = "Without labels there is no score: answers are compared with the float model's."
OPEN_DATA_FREE = (
    "Without data nothing judges: what you see was measured on inputs made by chance, and says only"
    " roughly where it hurts. Runs calibrate on made examples ({maker}). Scores mean agreement with"
    " the float model on them. Add data to measure what counts."
)
OPEN_NO_INPUTS = "Without data nothing can be measured: {problem}"
OPEN_USE_OWN = "Use the model's own data again"
OPEN_USE_NONE = "Go on without data"
OPEN_DROP_MODEL = "A model: .onnx, or a .zip with one and its external data"
OPEN_DROP_DATA = "Data: .npz, a .zip of pictures (folders or labels.csv are labels), or a text"
OPENED_DATA_FREE = (
    "'{name}' has no data yet: it is analysed on inputs made by chance, and runs calibrate on made"
    " examples. Add data on the page 'Open'."
)
OPENED_DATA = "'{name}': {calibration} examples calibrate, {test} others judge; labels: {labels}."
TRY_TITLE = "Try this"
#: sentence, what it does, and why it cannot be yet
TRIES = {
    "break": (
        "Round all layers to 2 bits: which one breaks?",
        "Makes a run with nearest rounding at 2 bits, and selects the layer that hurts most",
        "a run is being made; wait for it, or stop it",
    ),
    "learn": (
        "Let gram learn at 3 bits",
        "Makes a run that learns the rounding of each layer from its input moments",
        "a run is being made; wait for it, or stop it",
    ),
    "compare": (
        "Lay your runs side by side",
        "Opens the view that shows only what differs between runs",
        "needs one finished run beside nearest rounding: try the others first",
    ),
}
TRY_STATES = {"running": "being made", "done": "done"}
TUNED = "{layers} tuned; {average} bits of each weight on average, {size} of weights"
SURVEY_AXES = {"data": "What you have", "model": "What it is", "constraint": "What you want"}
FAMILIES = {"cnn": "CNN", "depthwise": "depthwise CNN", "vit": "ViT", "llm": "LLM"}
SURVEY_USE = "Open on {sample}"
SURVEY_USED = "{sample} is open with this recipe in the form: Run makes it."
LESSONS_PARTS = [("Demos", "demos"), ("The survey's maps and adviser", "survey")]
SURVEY_CITATION = (
    "After Huang et al., Learning-based Model Quantization: Methods, Challenges, and Prospects,"
    " DOI 10.7544/issn1000-1239.202660128; numbers are those of the papers named."
)
BITS_EMPTY = (
    "Some layers need more bits than others. Measure what each width does to each layer, then move"
    " a slider from the smallest network to the most faithful one."
)
BITS_MEASURE = "Measure each layer"
BITS_TUNE_HELP = "Tunes the session to them: what it makes from now on has them"
BITS_CURVE = "What each choice does"
BITS_USE = "Use these bits"
BITS_USE_HELP = "Puts them into the recipe at the right; Run then learns with them"
BITS_USED = "The recipe has these bits now: {sentence}. Run learns with them."
COMPARE_PARTS = {
    "asked": "What differs",
    "layers": "Layer by layer",
    "predictions": "Flipped predictions",
}
COMPARE_ASKED = "Runs side by side: only what differs; deltas are against A."
COMPARE_LAYERS = "The same number of each layer, a line for each run."
COMPARE_FLIPS = "Held-out examples that the exported files classify otherwise than A."
COMPARE_NO_LAYERS = "None of these runs measured its layers."
COMPARE_NO_FLIPS = "None of these runs holds a class for each example."
COMPARE_FEW = (
    "One run has nothing to be compared with. Start another one with Run: other bits, or another"
    " method."
)
COMPARE_CHOOSE = "Choose two runs or more above."
NO_LAYERS = "No layers to list."
NO_RUN = "There is no finished run on screen yet: wait for it, or start one with Run."
PREPARE_HELP = "What is done to the float network first. It stays the same function, or nearly."
SYNTHETIC_REAL = "Real data"
SYNTHETIC_HELP = (
    "Data-free: on what is made from the model alone. Real data, if any, then only judge; without"
    " any, nothing judges."
)
TEACHER_SELF = "The float model itself"
TEACHER_HELP = "A bigger float model that distillation learns from: same inputs, same classes."
TEACHER_ABSENT = (
    "the teacher was '{name}', which is not on this page; choose one from the list, or open its"
    " file with 'Open teacher'"
)
TEACHER_TAKEN = "'{name}' fits this model and teaches it from now on."
RECIPE_TAKEN = "The form shows the recipe of '{name}'."
BLANK_HELP = "For every method that trains; an empty field keeps the method's own default."
MORE_LABEL = "Other bits for some layers, and methods that go first"
MORE_HELP = "In TOML, as in a recipe file. A pattern is a name with * and ?, op:, layer:, after: …"
MORE_EXAMPLE = """\
[[overrides]]
pattern = "op:Gemm"
weights = 8    # 0: float
activations = 8

# goes before the method:
[[stages]]
method = "gram"
options = { sweeps = 4 }"""
NOT_TOML = "the text of overrides and stages is not TOML: {problem}; correct that line"
NOT_WRITTEN = (
    "the text has '{name}', and only 'overrides' and 'stages' are written there; set it with its"
    " own control, or open a whole recipe with 'Recipe'"
)
NOT_TABLES = "the text has {name} = {value!r}; write it as [[{name}]], once for each"
RESTORED = "'{name}' holds a run, {label}: its quantizers were taken over and are measured anew."
RESTORED_ALONE = (
    "'{name}' holds a run, {label}. Its float model is not at hand, so the weights in the file"
    " stand for it: 'float' means them here."
)
RESTORED_WAITS = "'{name}' holds a run; give data to measure it on ('Your data')."

UNFORESEEN = "That did not work for a reason we did not foresee; the server's log has the details."
DOWNLOADS = {"model": "model.onnx", "recipe": "recipe.toml", "report": "report.html"}

STATES = {
    "running": "running",
    "stopped": "stopped",
    "done": "done",
    "failed": "failed",
    "queued": "waiting",
}


EXCEPTIONS = "Besides"
_SAID = ("pattern", "weights", "activations")


def exception(override: Mapping[str, Any]) -> str:
    """`5 bit for conv1.weight`: what a recipe does otherwise."""
    place = str(override["pattern"]).removeprefix("tensor:").removeprefix("layer:")
    kinds = [("weights", ""), ("activations", " activations")]
    said = [f"{bits(int(override[k]))}{w}" for k, w in kinds if override.get(k) is not None]
    others = [f"{k.replace('_', ' ')} {v}" for k, v in override.items() if k not in _SAID]
    return f"{', '.join([*said, *others])} for {place}"


def full(held: float, limit: float) -> str:
    """Why nothing more is kept."""
    return (
        f"this page keeps {size(held)}, and may keep {size(limit)}; remove runs in the list of"
        " runs, or have the server started with a larger --max-stored"
    )


def waiting_limit(count: int) -> str:
    """Why no further job is taken."""
    return (
        f"{plural(count, 'job')} of this page wait already, which is the most; stop one, or wait"
        " until one begins"
    )


def turn(ahead: int, wait: float) -> str:
    """`waiting, next, in 8 s`, `waiting, 2 before, in 1 min 10 s`."""
    return f"waiting, {f'{ahead} before' if ahead else 'next'}, in {seconds(wait)}"


def plural(count: int, noun: str) -> str:
    """`1 layer`, `3 layers`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def count(number: float) -> str:
    """A number of parameters as `812`, `99.7 k` or `22.6 M`."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.{0 if number >= 100 * factor else 1}f} {unit}"
    return f"{number:.0f}"


def bits_long(weights: int, activations: int) -> str:
    """For screen readers and tips."""
    return f"weights {bits(weights)}, activations {bits(activations)}"


def bits(count: int) -> str:
    """`4 bit`, or `float` for 0."""
    return f"{count} bit" if count else "float"


def bits_short(weights: int, activations: int) -> str:
    """`4·8`; `f` stands for float."""
    return f"{weights or 'f'}·{activations or 'f'}"


def sentence_case(text: str) -> str:
    """With a large first letter."""
    return f"{text[:1].upper()}{text[1:]}"


def seconds(value: float) -> str:
    """`8 s`, `2 min 05 s`, `1 h 10 min`."""
    whole = max(0, round(value))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(count: float) -> str:
    """Bytes as `12.3 kB` or `4.1 MB` (thousands, as file managers show)."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 100 * factor else 1}f} {unit}"
    return f"{count:.0f} B"
