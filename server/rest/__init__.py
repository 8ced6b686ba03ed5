"""The REST side of the server: paths, JSON in, JSON out, and the HTTP port."""
