"""Benchmarks: how fast does a server answer?"""
