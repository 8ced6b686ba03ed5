"""Validation on the user's own server: `export-model --validate-on TARGET`.

Only the server itself can tell what it does with a version. So before publishing, the server that it is meant for
serves the staged version, with the flags that `deploy/` gives it, and is asked what a client asks.
"""
