"""Load tests of the mesh, with ghz."""
