"""The doors: a Gradio app and notebook widgets, thin adapters over `workbench.views`."""
