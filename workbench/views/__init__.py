"""Pictures of runs: plain records become JSON view-models, drawn by small ES modules."""
