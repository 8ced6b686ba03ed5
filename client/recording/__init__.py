"""Traffic as a file: a client's requests, recorded while it calls, and read again to be sent once more."""

from client.recording.logs import RecordedRequest, recorded_requests
from client.recording.recorder import Recorder

__all__ = ["RecordedRequest", "Recorder", "recorded_requests"]
