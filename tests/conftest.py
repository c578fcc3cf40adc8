"""What all tests share."""

import os

# Before gRPC is imported: it tells of every connection that a test breaks.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
