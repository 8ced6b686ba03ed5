"""Calls over gRPC: the channel, protobuf messages, tensors, calls as values, metadata."""
