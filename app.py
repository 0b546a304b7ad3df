from workbench.ui.gradio.app import main

main()
