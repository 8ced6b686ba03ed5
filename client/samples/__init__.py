"""The examples that a server is sent: image files and golden records."""
