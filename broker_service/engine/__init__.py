"""What stands between requests and rows: the group committer, and the directory with its caches."""
