"""The examples that an export is validated with, and the requests that are made from them."""
