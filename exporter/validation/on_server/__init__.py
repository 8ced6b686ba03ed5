"""Validation on the user's own server: `export-model --validate-on TARGET`.

What a server does with a version is learned from the server: before publishing, the staged version is served by what it
is meant for, with the flags that `deploy/` gives it, and asked what a client asks.
"""
