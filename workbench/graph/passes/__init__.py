"""Changes to the ONNX graph, one pass to a file; `workbench.graph.fold` says in which order."""
