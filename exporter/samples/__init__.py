"""The examples that an export is validated with, and what each signature is sent of them."""
