"""Running this project from its tree: the demo, a mesh to develop against, and what both are built of."""
