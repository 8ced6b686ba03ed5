"""The servers that a staged version can be validated on: a program of this machine, a container, a pod."""
