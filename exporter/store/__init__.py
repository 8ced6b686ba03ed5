"""Version directories: numbering, atomic publishing, pruning and listing."""
