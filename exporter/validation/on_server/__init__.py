"""Validation on the user's own server: `export-model --validate-on TARGET`.

Only the server itself shows what it does with a version. So before publishing, the server that it is meant for
serves the staged version, with the flags in `deploy/`, and receives the requests of a client's check.
"""
