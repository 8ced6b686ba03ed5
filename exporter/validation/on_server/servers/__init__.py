"""The servers that a staged version can be validated on: a program on this machine, a container or a pod."""
