"""The check against a server that serves something wrong, in many ways, and against one that is right but noisy."""
