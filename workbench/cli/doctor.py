"""What int8 means on this machine: `doctor`."""

from __future__ import annotations

from workbench.cli.console import AsJson, Threads, app, emit, errors, output, show, threads_of


@app.command()
def doctor(threads: Threads = 1, as_json: AsJson = False) -> None:
    """This processor's facts, what they mean for int8, and a self-test of a few seconds."""
    from workbench.deploy.doctor import examine

    with errors.status("trying int8 kernels"):
        found = examine(threads)
    if as_json:
        emit(found.record())
        return
    facts = found.processor
    name = f"{facts.vendor} {facts.model}".strip() or "unknown processor"
    words = {True: "yes", False: "no", None: "unknown"}
    output.print(
        f"{name}, {facts.architecture}, {facts.cores} cores, {facts.system}; "
        f"ONNX Runtime {found.runtime}, {threads_of(found.threads)}",
        markup=False,
    )
    show("", ("feature", "here"), [(key, words[value]) for key, value in facts.features.items()])
    columns = ("int8 kernel", "outputs off", "by steps", "ms", "exact ms", "float ms", "speed")
    rows = [
        (
            test.name,
            f"{100 * test.off:.1f} %",
            test.steps,
            f"{test.int8_ms:.3f}",
            f"{test.exact_ms:.3f}",
            f"{test.float_ms:.3f}",
            f"{test.speedup:.2f}×",
        )
        for test in found.tests
    ]
    show("Self-test", columns, rows)
    for line in found.advice():
        output.print(line, markup=False)
