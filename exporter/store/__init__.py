"""Version directories: numbering, atomic publishing, pruning, listing."""
