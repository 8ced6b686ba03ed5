"""Recorded traffic: write a client's requests to a file while it calls, and read them to send them again."""

from client.recording.logs import RecordedRequest, recorded_requests
from client.recording.recorder import Recorder

__all__ = ["RecordedRequest", "Recorder", "recorded_requests"]
