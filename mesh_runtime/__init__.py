"""What makes a process a node of the mesh: its server, calls, errors, deadlines, health and logs."""
